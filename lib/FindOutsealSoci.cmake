# Finds SOCI and gives the target OutsealSoci::SOCI: its core, its backends and the headers, with
# Boost's, which SOCI's include. Debian's SOCI 4.0.3 ships no CMake config of its own.
# Used by the build and, installed beside outsealConfig.cmake, by those who link outseal::soci.
find_path(SOCI_INCLUDE_DIR soci/soci.h)
find_path(SOCI_BOOST_INCLUDE_DIR boost/fusion/container/vector.hpp)
find_library(SOCI_CORE_LIBRARY soci_core)
find_library(SOCI_SQLITE3_LIBRARY soci_sqlite3)
find_library(SOCI_POSTGRESQL_LIBRARY soci_postgresql)
mark_as_advanced(SOCI_INCLUDE_DIR SOCI_BOOST_INCLUDE_DIR SOCI_CORE_LIBRARY
  SOCI_SQLITE3_LIBRARY SOCI_POSTGRESQL_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OutsealSoci
  REQUIRED_VARS SOCI_CORE_LIBRARY SOCI_SQLITE3_LIBRARY SOCI_POSTGRESQL_LIBRARY
    SOCI_INCLUDE_DIR SOCI_BOOST_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "on Debian: apt install libsoci-dev libboost-dev")

if(OutsealSoci_FOUND AND NOT TARGET OutsealSoci::SOCI)
  add_library(OutsealSoci::SOCI INTERFACE IMPORTED)
  target_include_directories(OutsealSoci::SOCI SYSTEM INTERFACE
    ${SOCI_INCLUDE_DIR} ${SOCI_BOOST_INCLUDE_DIR})
  target_link_libraries(OutsealSoci::SOCI INTERFACE
    ${SOCI_SQLITE3_LIBRARY} ${SOCI_POSTGRESQL_LIBRARY} ${SOCI_CORE_LIBRARY})
endif()
