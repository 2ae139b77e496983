#include "sinks/parameter_file.h"

#include "outseal/error.h"

namespace outseal::sinks {

std::ifstream open_parameter_file(const Url& url, std::string_view name, const std::string& path) {
  std::ifstream file{path};
  // A folder can be opened, but not read.
  if (!file || file.peek() == std::ifstream::traits_type::eof())
    throw Error{ErrorCode::invalid_config,
                url.scheme + " URL",
                std::string{name} + " cannot be read or is empty: " + path,
                {.hint = "give the path of a file that the relay may read"}};
  return file;
}

std::string readable_file(const Url& url, std::string_view name) {
  std::string path = url.text(name);
  if (!path.empty()) static_cast<void>(open_parameter_file(url, name, path));
  return path;
}

}  // namespace outseal::sinks
