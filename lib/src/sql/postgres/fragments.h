// Pieces of SQL that statements of several areas share.
#pragma once

/// Whether the event `o` waits for the subscription `s`: it is neither in the snapshot whose events
/// are all acknowledged, parked or filtered out, nor in the part of the window above it that is. An
/// index finds candidates by OUTSEAL_MAY_WAIT.
#define OUTSEAL_WAITS                                                          \
  "(NOT pg_visible_in_snapshot(o.tx, s.acked_snap) AND NOT (s.snap_to IS NOT " \
  "NULL AND o.seq <= s.acked_seq AND pg_visible_in_snapshot(o.tx, s.snap_to)))"
#define OUTSEAL_MAY_WAIT "o.tx >= pg_snapshot_xmin(s.acked_snap)"
