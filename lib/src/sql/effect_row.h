// Columns of an effect `e`, for statements of several areas.
#pragma once

// What the provider did, as far as it is known: by the word of whoever decided, else as asked for.
#define OUTSEAL_APPLIED_AMOUNT \
  "coalesce(e.applied_minor, e.amount_minor), coalesce(e.applied_currency, e.currency)"
