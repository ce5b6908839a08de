"""The installed SDK: a prefix that can be moved, plugins built against it outside the repository by several compilers,
loaded together into one process, found in every way, and equal in every bit of their results."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

METHODS = ["every_other", "recency_dot"]
# Flags that have changed results or crashed plugins with C++ interfaces; "pkg_config" is built without CMake.
CMAKE_VARIANTS = {
    "gcc_o0": ("g++", "-O0"),
    "gcc_native": ("g++", "-O3 -march=native"),
    "gcc_old_strings": ("g++", "-D_GLIBCXX_USE_CXX11_ABI=0"),
    "clang_o0": ("clang++", "-O0"),
    "clang_native": ("clang++", "-O3 -march=native"),
}
VARIANTS = [*CMAKE_VARIANTS, "pkg_config"]


def run(*command, expect=0, **options):
    """Runs a command; returns its stdout, or stderr when it is expected to fail."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **options)
    if done.returncode != expect:
        raise AssertionError(f"{command} ended with {done.returncode}, not {expect}:\n{done.stdout}{done.stderr}")
    return done.stderr if expect else done.stdout


class Workshop:
    """An author's folder outside the repository, the moved prefix beside it."""

    def __init__(self, source, build, cmake):
        self.source, self.build, self.cmake = source, build, cmake
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="attnlab_install_")).resolve()
        self.installed = build / "tests" / "install" / "prefix"
        self.prefix = self.root / "moved"
        self.plugins = self.root / "plugins"  # all variants, as an author would collect them
        self.attnlab = self.prefix / "bin" / "attnlab"
        # Nothing of the caller's that compilers, CMake or attnlab would listen to.
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.root),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "CMAKE_GENERATOR": "Ninja",
            "PKG_CONFIG_PATH": str(self.prefix / "lib" / "pkgconfig"),
        }

    def run(self, *command, **options):
        return run(*command, env=self.environment | options.pop("variables", {}), cwd=options.pop("cwd", self.root),
                   **options)

    def prepare(self):
        shutil.rmtree(self.installed, ignore_errors=True)
        run(self.cmake, "--install", self.build, "--prefix", self.installed)
        shutil.move(self.installed, self.prefix)
        shutil.copytree(self.source / "tests" / "install" / "plugins", self.root / "outside")
        self.plugins.mkdir()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            builds = [pool.submit(self.build_with_cmake, variant) for variant in CMAKE_VARIANTS]
            builds += [pool.submit(self.build_with_pkg_config, method) for method in METHODS]
            for build in builds:
                build.result()
        (self.root / "config.json").write_text(json.dumps(self.config()))

    def build_with_cmake(self, variant):
        compiler, flags = CMAKE_VARIANTS[variant]
        folder = self.configure("outside", f"build_{variant}", f"-DVARIANT={variant}",
                                f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_CXX_FLAGS={flags}")
        self.run(self.cmake, "--build", folder)
        for method in METHODS:
            shutil.copy(folder / f"{method}_{variant}.so", self.plugins)

    def configure(self, project, folder, *arguments):
        self.run(self.cmake, "-S", project, "-B", folder, f"-DCMAKE_PREFIX_PATH={self.prefix}", *arguments)
        return self.root / folder

    def build_with_pkg_config(self, method):
        self.run("sh", "-c", "g++ -O3 -march=native $(pkg-config --cflags attnlab-sdk) -DVARIANT='\"pkg_config\"' "
                 f"outside/{method}.cpp -o plugins/{method}_pkg_config.so $(pkg-config --libs attnlab-sdk)")

    def config(self):
        """One pipeline for each variant, the same but for the ids."""
        pipelines = {}
        for variant in VARIANTS:
            pipelines[variant] = [
                {"masker": f"every_other_{variant}", "name": "masker"},
                {"masker": f"recency_dot_{variant}", "name": "scorer", "half_life": 20, "heavy_size": 16},
            ]
        return {
            "pipelines": pipelines,
            "input": {"workload": "gaussian", "query_heads": 4, "kv_heads": 2, "queries": 32, "keys": 256,
                      "head_dim": 32, "value_dim": 32, "seed": 5},
        }

    def attend(self, name, *arguments, attnlab=None, config="config.json", **options):
        """Runs the config into the folder `name`; returns what its result.json says of quality, by pipeline."""
        self.run(attnlab or self.attnlab, "run", config, "--out", self.root / name, "--quiet", *arguments, **options)
        result = json.loads((self.root / name / "result.json").read_text())
        return {pipeline["name"]: pipeline["quality"] for pipeline in result["pipelines"]}


class Prefix(unittest.TestCase):
    def test_holds_what_the_reference_says(self):
        page = (workshop.source / "docs" / "reference" / "sdk.md").read_text()
        paths = re.findall(r"^\| `((?:bin|include|lib|share)/[^`]*)` \|", page, re.MULTILINE)
        self.assertGreater(len(paths), 5)
        for path in paths:
            self.assertTrue(list(workshop.prefix.glob(path)), path)

    def test_holds_the_methods_of_the_repository_only(self):
        methods = {folder.name for folder in (workshop.source / "plugins").glob("*/*") if folder.is_dir()}
        self.assertEqual({file.stem for file in workshop.prefix.glob("lib/attnlab/plugins/*")}, methods)

    def test_names_no_folder_of_the_machine(self):
        folders = [os.fsencode(folder) for folder in (workshop.source, workshop.build, workshop.installed)]
        for file in filter(pathlib.Path.is_file, workshop.prefix.rglob("*")):
            content = file.read_bytes()
            for folder in folders:
                self.assertNotIn(folder, content, file)

    def test_needs_no_library_path(self):
        for file in [workshop.attnlab, *workshop.prefix.glob("lib/attnlab/plugins/*.so")]:
            self.assertNotRegex(workshop.run("readelf", "-d", file), "RPATH|RUNPATH", file)

    def test_works_without_the_repository(self):
        link = workshop.root / "link"
        link.symlink_to(workshop.attnlab)
        for program in (workshop.attnlab, link):
            self.assertRegex(workshop.run(program, "plugin", "list"), r"(?m)^sink +masker")
        quickstart = workshop.prefix / "share" / "attnlab" / "configs" / "quickstart.json"
        self.assertIn("valid", workshop.run(workshop.attnlab, "config", "validate", quickstart))


class Plugins(unittest.TestCase):
    def test_export_one_symbol(self):
        for file in [*workshop.plugins.iterdir(), *workshop.prefix.glob("lib/attnlab/plugins/*.so")]:
            symbols = [line.split()[-1] for line in workshop.run("nm", "-D", "--defined-only", file).splitlines()]
            self.assertEqual(symbols, ["attnlab_plugin"], file)

    def test_come_from_two_compilers(self):
        listed = workshop.run(workshop.attnlab, "plugin", "list", "--json", "--plugin-path", workshop.plugins)
        methods = json.loads(listed)
        compilers = {method["compiler"].split()[0] for method in methods if method["id"].startswith("every_other_")}
        self.assertEqual(compilers, {"gcc", "clang"})

    def test_agree_in_every_bit(self):
        quality = workshop.attend("bits", "--plugin-path", workshop.plugins, "--dump", "mask,output,weights")
        first, *others = VARIANTS
        self.assertTrue(0.3 < quality[first]["density"]["mean"] < 0.7, quality[first])
        for other in others:
            self.assertEqual(quality[other], quality[first], other)
            for plane in ("mask", "output", "weights"):
                planes = [(workshop.root / "bits" / name / f"{plane}.npy").read_bytes() for name in (first, other)]
                self.assertTrue(planes[0] == planes[1], f"{plane} of {other} differs from {first}")


class Discovery(unittest.TestCase):
    """Every way in which the host finds plugins leads to the same results; the current directory is none of them."""

    @classmethod
    def setUpClass(cls):
        cls.expected = workshop.attend("discovery", "--plugin-path", workshop.plugins)

    def test_plugin_files(self):
        files = [word for file in sorted(workshop.plugins.iterdir()) for word in ("--plugin", file)]
        self.assertEqual(workshop.attend("by_file", *files), self.expected)

    def test_environment(self):
        variables = {"ATTNLAB_PLUGIN_PATH": f"/nowhere:{workshop.plugins}"}
        self.assertEqual(workshop.attend("by_environment", variables=variables), self.expected)

    def test_config(self):
        folder = workshop.root / "configs"
        folder.mkdir()
        (folder / "near.json").write_text(json.dumps(workshop.config() | {"plugin_path": "../plugins"}))
        self.assertEqual(workshop.attend("by_config", config=folder / "near.json", cwd="/"), self.expected)

    def test_prefix(self):
        prefix = workshop.root / "other_prefix"
        shutil.copytree(workshop.prefix, prefix)
        for variant in CMAKE_VARIANTS:
            workshop.run(workshop.cmake, "--install", f"build_{variant}", "--prefix", prefix)
        for method in METHODS:
            shutil.copy(workshop.plugins / f"{method}_pkg_config.so", prefix / "lib" / "attnlab" / "plugins")
        self.assertEqual(workshop.attend("by_prefix", attnlab=prefix / "bin" / "attnlab"), self.expected)

    def test_current_directory_is_not_searched(self):
        here = workshop.root / "here"
        for folder in ("lib/attnlab/plugins", "plugins", "bin"):
            shutil.copytree(workshop.plugins, here / folder)
        for file in workshop.plugins.iterdir():
            shutil.copy(file, here)
        for folder in (here, here / "bin"):
            message = workshop.run(workshop.attnlab, "run", workshop.root / "config.json", cwd=folder, expect=3)
            self.assertIn("every_other_gcc_o0", message)


class Author(unittest.TestCase):
    """What the reference page tells authors to write works; what they get wrong is answered."""

    def test_commands_of_the_reference(self):
        page = (workshop.source / "docs" / "reference" / "sdk.md").read_text()
        project = workshop.root / "my_masker"
        project.mkdir()
        source = (workshop.source / "plugins" / "maskers" / "sink" / "sink.cpp").read_text()
        (project / "my_masker.cpp").write_text(source.replace('"sink"', '"my_masker"'))
        (project / "CMakeLists.txt").write_text(re.search(r"```cmake\n(.*?)```", page, re.DOTALL)[1])
        with_cmake, without = [re.sub(r"\bPREFIX\b", str(workshop.prefix), block)
                               for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[:2]]
        for commands, library in ((with_cmake, "build/my_masker.so"), (without, "my_masker.so")):
            workshop.run("sh", "-ec", commands, cwd=project)
            info = workshop.run(workshop.attnlab, "plugin", "info", "my_masker", "--plugin", project / library)
            self.assertIn("sink_size", info)

    def test_own_kernels_stay_inside_the_plugin(self):
        """The page's plugin by the compiler that its own test does not take."""
        page = (workshop.source / "docs" / "howto" / "own-simd-kernel.md").read_text()
        project = workshop.root / "manhattan"
        project.mkdir()
        for name, text in re.findall(r"`([\w.]+)`:\n\n```(?:cpp|cmake)\n(.*?)```", page, re.DOTALL):
            (project / name).write_text(text)
        folder = workshop.configure("manhattan", "build_manhattan", "-DCMAKE_CXX_COMPILER=clang++")
        workshop.run(workshop.cmake, "--build", folder)
        symbols = workshop.run("nm", "-D", "--defined-only", folder / "manhattan.so").split()[2::3]
        self.assertEqual(symbols, ["attnlab_plugin"])
        for target in ("N_AVX2", "N_SSE4") if os.uname().machine == "x86_64" else ("N_NEON",):
            self.assertIn(target, workshop.run("nm", "-C", folder / "manhattan.so"))
        info = workshop.run(workshop.attnlab, "plugin", "info", "manhattan", "--plugin", folder / "manhattan.so")
        self.assertIn("Manhattan distance", info)

    def test_mistakes(self):
        shutil.copytree(workshop.source / "tests" / "install" / "mistakes", workshop.root / "mistakes")
        shutil.copy(workshop.root / "outside" / "every_other.cpp", workshop.root / "mistakes")
        workshop.configure("mistakes", "build_mistakes", "-DWANTED_VERSION=0.2", "-DMISTAKE=none")
        for mistake, version, answer in (
            ("unknown_argument", "0.2", r"unknown arguments: mine\.cpp; it takes SOURCES"),
            ("sources_missing", "0.2", "SOURCES is missing"),
            ("highway_absent", "0.2", "HIGHWAY needs Google Highway, Debian's libhwy-dev"),
            ("fast_math_option", "0.2", "-ffast-math changes results"),
            ("fast_math_later", "0.2", "-Ofast changes results"),
            ("old_compiler", "0.2", r"needs g\+\+ 12 or clang\+\+ 14 or newer.*found: GNU 9\.4\.0"),
            ("none", "0.1", 'compatible with requested version "0.1"'),
            ("none", "0.0", 'compatible with requested version "0.0"'),
            ("none", "1.0", 'compatible with requested version "1.0"'),
        ):
            with self.subTest(mistake=mistake, version=version):
                message = workshop.run(workshop.cmake, f"-DWANTED_VERSION={version}", f"-DMISTAKE={mistake}",
                                       "build_mistakes", expect=1)
                self.assertRegex(" ".join(message.split()), answer)


def setUpModule():
    unittest.addModuleCleanup(shutil.rmtree, workshop.root)
    workshop.prepare()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("source", "build", "cmake"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    arguments, rest = parser.parse_known_args()
    workshop = Workshop(arguments.source, arguments.build, arguments.cmake)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
