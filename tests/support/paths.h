// Where the sources and the built programs are. Functions, so that only one file is compiled anew
// for another folder.
#pragma once

#include <string>
#include <string_view>

namespace outseal::test {

/// The root of the sources.
std::string source_folder();
/// The path of a built program, for example "outseal-relay".
std::string program_path(std::string_view name);

}  // namespace outseal::test
