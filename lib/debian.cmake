# Debian packages, by `cpack -G DEB` in the build folder: outseal-tools has the programs with their
# man pages and the migrations, liboutseal-dev what a service is built with. The components of the
# install commands have the same names. tests/package/debian.sh makes and uses both.
set(CPACK_PACKAGE_CONTACT "The outseal maintainers <outseal@localhost>" CACHE STRING
    "Who answers for the Debian packages: NAME <ADDRESS>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL outseal-tools liboutseal-dev)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)

set(CPACK_DEBIAN_OUTSEAL-TOOLS_PACKAGE_NAME outseal-tools)
set(CPACK_DEBIAN_OUTSEAL-TOOLS_PACKAGE_SECTION database)
set(CPACK_DEBIAN_OUTSEAL-TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_OUTSEAL-TOOLS_DESCRIPTION "the programs: schema, relay, reconciler")

set(CPACK_DEBIAN_LIBOUTSEAL-DEV_PACKAGE_NAME liboutseal-dev)
set(CPACK_DEBIAN_LIBOUTSEAL-DEV_PACKAGE_SECTION libdevel)
# The library is static: what it uses is linked into the service.
set(CPACK_DEBIAN_LIBOUTSEAL-DEV_PACKAGE_DEPENDS
    "libpq-dev, libsqlite3-dev (>= 3.39), libssl-dev, libsoci-dev, libboost-dev")
set(CPACK_COMPONENT_LIBOUTSEAL-DEV_DESCRIPTION "the library and headers for services")
include(CPack)
