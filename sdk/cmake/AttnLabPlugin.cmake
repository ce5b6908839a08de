# attnlab_add_plugin(NAME SOURCES file... [IDS id...] [LINK library...] [OPTIONS flag...])
#
# Builds NAME.so so that it can be loaded beside any other plugin: hidden visibility, a version script that exports one
# symbol, nothing undefined, never unloaded, no fast-math (loading such a library changes the host's FPU mode).
# IDS are the method ids written into the ELF note; the default is NAME.
function(attnlab_add_plugin name)
  cmake_parse_arguments(PLUGIN "" "" "SOURCES;IDS;LINK;OPTIONS" ${ARGN})
  if(NOT PLUGIN_SOURCES)
    message(FATAL_ERROR "attnlab_add_plugin(${name}): SOURCES is missing")
  endif()
  set(flags ${PLUGIN_OPTIONS} ${CMAKE_CXX_FLAGS})
  if(flags MATCHES "-ffast-math|-Ofast|-funsafe-math-optimizations")
    message(FATAL_ERROR "attnlab_add_plugin(${name}): -ffast-math and its relatives change the results of the host "
                        "and of other plugins; use -fno-math-errno or -fno-trapping-math instead")
  endif()
  if(NOT PLUGIN_IDS)
    set(PLUGIN_IDS ${name})
  endif()
  string(REPLACE ";" " " ids "${PLUGIN_IDS}")

  add_library(${name} MODULE ${PLUGIN_SOURCES})
  set_property(GLOBAL APPEND PROPERTY ATTNLAB_PLUGIN_TARGETS ${name})
  target_link_libraries(${name} PRIVATE attnlab_sdk ${PLUGIN_LINK})
  target_compile_definitions(${name} PRIVATE "ATTNLAB_PLUGIN_IDS=\"${ids}\"")
  # The SDK's random numbers have the same bits everywhere as long as no multiply-add is fused.
  target_compile_options(${name} PRIVATE -ffp-contract=off ${PLUGIN_OPTIONS})
  target_link_options(${name} PRIVATE
    LINKER:--version-script=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map LINKER:-z,now LINKER:-z,nodelete)
  if(NOT ATTNLAB_SANITIZE)
    target_link_options(${name} PRIVATE LINKER:-z,defs)
  endif()
  set_target_properties(${name} PROPERTIES
    PREFIX "" CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  if(ATTNLAB_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${ATTNLAB_PLUGIN_OUTPUT_DIRECTORY})
  endif()
endfunction()
