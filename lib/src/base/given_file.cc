#include "base/given_file.h"

#include <sys/stat.h>

#include "outseal/error.h"

namespace outseal {

std::ifstream open_given_file(std::string_view operation, const std::string& what,
                              const std::string& path, Secrecy secrecy) {
  const auto refuse = [&](const std::string& fault, const std::string& hint) {
    throw Error{
        ErrorCode::invalid_config, operation, what + " " + fault + ": " + path, {.hint = hint}};
  };
  const std::string hint = "give the path of a file that this program may read";
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    refuse("is not a regular file", hint);
  std::ifstream file{path};
  if (!file || file.peek() == std::ifstream::traits_type::eof())
    refuse("cannot be read or is empty", hint);
  if (secrecy == Secrecy::secret &&
      (::stat(path.c_str(), &info) != 0 || (info.st_mode & (S_IROTH | S_IWOTH)) != 0))
    refuse("holds a secret that every user of this system can read or change",
           "run: chmod 600 " + path);
  return file;
}

}  // namespace outseal
