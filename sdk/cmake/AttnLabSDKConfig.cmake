# find_package(AttnLabSDK 0.2 REQUIRED): the target AttnLab::sdk (headers and flags) and attnlab_add_plugin().
include(${CMAKE_CURRENT_LIST_DIR}/AttnLabSDKTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/AttnLabPlugin.cmake)
