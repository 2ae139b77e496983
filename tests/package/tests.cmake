# Included by tests/CMakeLists.txt, so paths begin there.

# Outseal as a stranger gets it: installed below a prefix, as Debian packages, as a part of the
# stranger's own project.
outseal_ctest(package layout COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/package/test.sh
              ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER})
outseal_ctest(package_debian layout COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/package/debian.sh
              ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER})
outseal_ctest(package_subproject layout LONG
              COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/package/subproject.sh
              ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER})
