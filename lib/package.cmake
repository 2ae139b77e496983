# What is installed for those who build a service: the library, its headers, and how CMake's
# find_package(outseal) and pkg-config find them. tests/package does both.
include(CMakePackageConfigHelpers)
set(OUTSEAL_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/outseal)
configure_package_config_file(outsealConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/outsealConfig.cmake INSTALL_DESTINATION ${OUTSEAL_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/outsealConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)

# Relative, so that the files may be installed below any prefix.
set(OUTSEAL_PC_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH OUTSEAL_PREFIX_FROM_PC /${OUTSEAL_PC_DIR} /)
configure_file(outseal.pc.in outseal.pc @ONLY)

set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME liboutseal-dev)
install(TARGETS outseal EXPORT outsealTargets ARCHIVE)
install(EXPORT outsealTargets NAMESPACE outseal:: DESTINATION ${OUTSEAL_PACKAGE_DIR})
install(DIRECTORY include/outseal TYPE INCLUDE FILES_MATCHING PATTERN *.h)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/outseal.pc DESTINATION ${OUTSEAL_PC_DIR})
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/outsealConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/outsealConfigVersion.cmake
  FindOutsealSoci.cmake
  DESTINATION ${OUTSEAL_PACKAGE_DIR})
# For other migration tools.
install(DIRECTORY ${OUTSEAL_MIGRATIONS_FOLDER} DESTINATION ${CMAKE_INSTALL_DATADIR}/outseal
        COMPONENT outseal-tools)
