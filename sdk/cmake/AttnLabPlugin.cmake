# attnlab_add_plugin(NAME SOURCES file... [IDS id...] [LINK library...] [OPTIONS flag...] [HIGHWAY] [NO_INSTALL])
#
# Builds NAME.so so that it can be loaded beside any other plugin: hidden visibility, a version script that exports one
# symbol, nothing undefined, never unloaded, the same floating-point results from every compiler.
# HIGHWAY links Google Highway, for kernels that are compiled for several CPUs and chosen from at run time; files that
# HWY_TARGET_INCLUDE names are found in the current source folder. The target `hwy` is taken if the project has one.
# IDS are the method ids written into the ELF note; the default is NAME. Without NO_INSTALL, `cmake --install` puts the
# library into lib/attnlab/plugins of the prefix, where the attnlab of the same prefix finds it.
function(attnlab_add_plugin name)
  cmake_parse_arguments(PLUGIN "HIGHWAY;NO_INSTALL" "" "SOURCES;IDS;LINK;OPTIONS" ${ARGN})
  set(here "attnlab_add_plugin(${name})")
  if(PLUGIN_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${here}: unknown arguments: ${PLUGIN_UNPARSED_ARGUMENTS}; it takes SOURCES, IDS, LINK, OPTIONS, "
                        "HIGHWAY and NO_INSTALL")
  endif()
  if(NOT PLUGIN_SOURCES)
    message(FATAL_ERROR "${here}: SOURCES is missing")
  endif()
  if(NOT (CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12) AND
     NOT (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 14))
    message(FATAL_ERROR "${here}: the SDK needs g++ 12 or clang++ 14 or newer, and project(... LANGUAGES CXX); "
                        "found: ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_CXX_COMPILER}")
  endif()
  if(NOT PLUGIN_IDS)
    set(PLUGIN_IDS ${name})
  endif()
  string(REPLACE ";" " " ids "${PLUGIN_IDS}")

  add_library(${name} MODULE ${PLUGIN_SOURCES})
  set_property(GLOBAL APPEND PROPERTY ATTNLAB_PLUGIN_TARGETS ${name})
  target_link_libraries(${name} PRIVATE AttnLab::sdk ${PLUGIN_LINK})
  target_compile_definitions(${name} PRIVATE "ATTNLAB_PLUGIN_IDS=\"${ids}\"")
  if(PLUGIN_HIGHWAY)
    _attnlab_link_highway(${name})
  endif()
  if(NOT CMAKE_CXX_FLAGS MATCHES "-O")
    # An author who says nothing about optimisation measures nothing of interest at -O0.
    target_compile_options(${name} PRIVATE $<$<CONFIG:>:-O3>)
  endif()
  target_compile_options(${name} PRIVATE ${PLUGIN_OPTIONS})
  target_link_options(${name} PRIVATE
    LINKER:--version-script=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map LINKER:-z,now LINKER:-z,nodelete)
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so" CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  if(ATTNLAB_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${ATTNLAB_PLUGIN_OUTPUT_DIRECTORY})
  endif()
  if(NOT PLUGIN_NO_INSTALL)
    install(TARGETS ${name} LIBRARY DESTINATION lib/attnlab/plugins)
  endif()
  # At the end of the folder all flags are known, also those of later target_compile_options(). DEFER would look for
  # ${name} then; EVAL writes it out now.
  cmake_language(EVAL CODE "cmake_language(DEFER CALL _attnlab_check_flags [[${name}]])")
endfunction()

function(_attnlab_link_highway name)
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  # Symbols of a static library stay inside the plugin: another plugin may hold another version.
  target_link_options(${name} PRIVATE LINKER:--exclude-libs,libhwy.a)
  if(TARGET hwy)
    target_link_libraries(${name} PRIVATE hwy)
    return()
  endif()
  find_library(ATTNLAB_HIGHWAY_LIBRARY hwy)
  find_path(ATTNLAB_HIGHWAY_INCLUDE hwy/foreach_target.h)
  if(NOT ATTNLAB_HIGHWAY_LIBRARY OR NOT ATTNLAB_HIGHWAY_INCLUDE)
    message(FATAL_ERROR "attnlab_add_plugin(${name}): HIGHWAY needs Google Highway, Debian's libhwy-dev; "
                        "elsewhere set CMAKE_PREFIX_PATH to where it is installed")
  endif()
  target_link_libraries(${name} PRIVATE ${ATTNLAB_HIGHWAY_LIBRARY})
  target_include_directories(${name} SYSTEM PRIVATE ${ATTNLAB_HIGHWAY_INCLUDE})
endfunction()

# Flags that a plugin must not have, and the link option that not all of them allow.
function(_attnlab_check_flags name)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
  get_target_property(options ${name} COMPILE_OPTIONS)
  set(flags ${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${build_type}} ${options})
  # Loading a library of -ffast-math changes the host's FPU mode; the others change a plugin's results with the compiler.
  if(flags MATCHES "-(Ofast|ffast-math|funsafe-math-optimizations|fassociative-math|freciprocal-math|ffinite-math-only)")
    message(FATAL_ERROR "attnlab_add_plugin(${name}): ${CMAKE_MATCH_0} changes results; "
                        "-fno-math-errno and -fno-trapping-math are as fast in most loops and do not")
  endif()
  if(NOT flags MATCHES "-fsanitize=")
    # Clang leaves the sanitizers' functions to the program.
    target_link_options(${name} PRIVATE LINKER:-z,defs)
  endif()
endfunction()
