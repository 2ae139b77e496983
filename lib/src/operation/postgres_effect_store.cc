#include "operation/effect_store.h"
#include "outseal/error.h"

namespace outseal::operation {

std::unique_ptr<EffectStore> make_postgres_effect_store(Session /*session*/,
                                                        const AttemptOptions& /*options*/) {
  throw Error{ErrorCode::internal, "attempt", "effects on PostgreSQL are not implemented"};
}

}  // namespace outseal::operation
