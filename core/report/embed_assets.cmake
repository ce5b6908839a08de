# cmake -DOUT=FILE -DCSS=FILE -DJS=FILE;FILE... -DSWEEP_JS=FILE;FILE... -P embed_assets.cmake: writes the C++ source behind
# assets.hpp.
function(read_all result)
  set(all "")
  foreach(file IN LISTS ARGN)
    file(READ "${file}" text)
    string(APPEND all "${text}")
  endforeach()
  set(${result} "${all}" PARENT_SCOPE)
endfunction()
read_all(script ${JS})
read_all(sweep_script ${SWEEP_JS})
file(READ "${CSS}" style)
file(WRITE "${OUT}" "#include \"core/report/assets.hpp\"

namespace attnlab::report {

const std::string_view style_sheet = R\"asset(${style})asset\";
const std::string_view script = R\"asset(${script})asset\";
const std::string_view sweep_script = R\"asset(${sweep_script})asset\";

}  // namespace attnlab::report
")
