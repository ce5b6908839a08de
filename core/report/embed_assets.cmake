# cmake -DOUT=FILE -DCSS=FILE -DJS=FILE;FILE... -P embed_assets.cmake: writes the C++ source behind assets.hpp.
set(script "")
foreach(file IN LISTS JS)
  file(READ "${file}" text)
  string(APPEND script "${text}")
endforeach()
file(READ "${CSS}" style)
file(WRITE "${OUT}" "#include \"core/report/assets.hpp\"

namespace attnlab::report {

const std::string_view style_sheet = R\"asset(${style})asset\";
const std::string_view script = R\"asset(${script})asset\";

}  // namespace attnlab::report
")
