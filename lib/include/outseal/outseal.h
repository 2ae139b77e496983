// outseal: transactional outbox, idempotency and reconciliation. Start here.
//
// Reading order: transaction.h (begin, join, commit) · session.h (on which connections) · outbox.h
// (append an event) · idempotency.h (execute an operation once) · fingerprint.h (tell requests
// apart) · effects.h (with effects outside of the database) · provider.h (what providers promise) ·
// run.h (with retries) · status.h (what has become of one) · inbox.h (receive an event once) ·
// consume.h (a receiver's loop) · webhook.h (verify a webhook) · error.h (what can go wrong and
// what to do) · observer.h (see what became of each call) · ids.h (event ids, positions,
// idempotency keys). Not among these: http_front.h (the front door of an HTTP service) and
// testing.h (for unit tests). How it works inside: lib/README.md.
#pragma once

#include "outseal/consume.h"      // IWYU pragma: export
#include "outseal/effects.h"      // IWYU pragma: export
#include "outseal/error.h"        // IWYU pragma: export
#include "outseal/fingerprint.h"  // IWYU pragma: export
#include "outseal/idempotency.h"  // IWYU pragma: export
#include "outseal/ids.h"          // IWYU pragma: export
#include "outseal/inbox.h"        // IWYU pragma: export
#include "outseal/observer.h"     // IWYU pragma: export
#include "outseal/outbox.h"       // IWYU pragma: export
#include "outseal/provider.h"     // IWYU pragma: export
#include "outseal/run.h"          // IWYU pragma: export
#include "outseal/session.h"      // IWYU pragma: export
#include "outseal/status.h"       // IWYU pragma: export
#include "outseal/transaction.h"  // IWYU pragma: export
#include "outseal/version.h"      // IWYU pragma: export
#include "outseal/webhook.h"      // IWYU pragma: export
