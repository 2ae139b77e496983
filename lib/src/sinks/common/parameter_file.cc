#include "sinks/common/parameter_file.h"

#include <sys/stat.h>

#include "outseal/error.h"

namespace outseal::sinks {

std::ifstream open_parameter_file(const Url& url, std::string_view name, const std::string& path,
                                  Secrecy secrecy) {
  std::ifstream file{path};
  const auto refuse = [&](const std::string& what, const std::string& hint) {
    throw Error{ErrorCode::invalid_config,
                url.scheme + " URL",
                std::string{name} + " " + what + ": " + path,
                {.hint = hint}};
  };
  // A folder can be opened, but not read.
  if (!file || file.peek() == std::ifstream::traits_type::eof())
    refuse("cannot be read or is empty", "give the path of a file that the relay may read");
  struct stat info {};
  if (secrecy == Secrecy::secret &&
      (::stat(path.c_str(), &info) != 0 || (info.st_mode & (S_IROTH | S_IWOTH)) != 0))
    refuse("holds a secret that every user of this system can read or change",
           "run: chmod 600 " + path);
  return file;
}

std::string readable_file(const Url& url, std::string_view name, Secrecy secrecy) {
  std::string path = url.text(name);
  if (!path.empty()) static_cast<void>(open_parameter_file(url, name, path, secrecy));
  return path;
}

}  // namespace outseal::sinks
