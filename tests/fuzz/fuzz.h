// What the fuzz targets share.
//
// A target is one file with LLVMFuzzerTestOneInput(). It takes any bytes, must neither crash, leak
// nor hang, and calls require() for what has to hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace outseal::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Ends the process, which libFuzzer reports with the input, unless `holds`.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Takes fields off the front of an input; '|' stands between them.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_{bytes} {}

  std::string_view next() {
    const std::string_view field = rest_.substr(0, rest_.find('|'));
    rest_.remove_prefix(field.size() < rest_.size() ? field.size() + 1 : rest_.size());
    return field;
  }
  std::string_view rest() const { return rest_; }
  bool is_done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace outseal::fuzz
