# Writes OUTPUT, a C++ file that holds every ROOT/<dialect>/NNNN_name.{up,down}.sql as a raw string,
# and FOLDER, the same files to install. In both {checksum} stands replaced by that of the file.
file(GLOB files RELATIVE ${ROOT} ${ROOT}/*/*.sql)
list(SORT files)
set(text "// Generated from migrations/. Do not edit.\n#include \"store/migration_list.h\"\n\n")
string(APPEND text "namespace outseal::store {\n\n")
string(APPEND text "const EmbeddedMigration kEmbeddedMigrations[] = {\n")
foreach(file IN LISTS files)
  file(READ ${ROOT}/${file} sql)
  file(SHA256 ${ROOT}/${file} checksum)
  string(REPLACE "'{checksum}'" "'${checksum}'" sql "${sql}")
  file(WRITE ${FOLDER}/${file} "${sql}")
  string(APPEND text
         "{\"${file}\", R\"outseal_sql(${sql})outseal_sql\",\n \"${checksum}\"},\n")
endforeach()
string(APPEND text "};\nconst std::size_t kEmbeddedMigrationCount = ")
string(APPEND text "std::size(kEmbeddedMigrations);\n\n}  // namespace outseal::store\n")
file(WRITE ${OUTPUT} "${text}")
