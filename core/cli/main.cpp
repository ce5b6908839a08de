#include "core/cli/command.hpp"

int main(int argc, char** argv) {
  return attnlab::cli::main(argc, argv);
}
