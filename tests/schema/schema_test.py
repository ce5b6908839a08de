"""The generated JSON Schema and attnlab's own validator agree.

usage: schema_test.py PROGRAM JUDGE SOURCE_DIR PLUGIN...

An independent validator (python3-jsonschema) reads the schema that the program prints. Documents are made from
the parameter tables: for every parameter a list of values that are legal, at a bound, beyond it or of a wrong
type. Both validators must accept the same documents. What JSON Schema cannot say is in EXCEPTIONS.
"""

import functools
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema

program, judge, source = sys.argv[1:4]
plugins = sys.argv[4:]
failures = []


def check(condition, message):
    if not condition:
        failures.append(message)


def run(command, text=None, folder=None):
    done = subprocess.run(command, input=text, cwd=folder, capture_output=True, text=True, timeout=120)
    check(done.returncode == 0, f"{command} ends with {done.returncode}: {done.stderr}")
    return done.stdout


plugin_options = [word for file in plugins for word in ("--plugin", file)]
schema = json.loads(run([program, "config", "schema", *plugin_options]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
tables = json.loads(run([judge, "TABLES", *plugins]))

# What JSON Schema cannot say: (name, reason, whether an error of attnlab is of this rule).
EXCEPTIONS = [
    ("whole number written with a point or exponent", "2.0 is an integer in JSON Schema; attnlab tells counts from fractions by the point",
     lambda error, text: "is a fraction above 1 (a count is written without a decimal point)" in error
     or ("has the wrong type" in error and re.search(r"found: [^ ]*(\.0|e\+)", error))),
    ("query_heads divisible by kv_heads", "JSON Schema cannot relate two values", lambda error, text: "do not form groups" in error),
    ("queries at most keys", "JSON Schema cannot relate two values", lambda error, text: "more queries than keys" in error),
    ("stage names unique in a pipeline", "uniqueItems compares whole items", lambda error, text: "have the same name" in error),
    ("percentage too small for a double", "a pattern sees digits, not the number",
     lambda error, text: "is not a percentage" in error and "0000000000" in text),
    ("input may come from --input", "a config without it is complete with the option",
     lambda error, text: "has no \"input\"" in error),
    ("pipelines that policies and compare name", "JSON Schema cannot relate a value to keys elsewhere",
     lambda error, text: "no pipeline has this name" in error or "names a pipeline twice" in error or "policy names itself" in error
     or ("policies do not nest" in error and "did you mean" not in error)),
    ("layers and heads named once, in ascending ranges", "a pattern cannot compare numbers",
     lambda error, text: "two keys name" in error or "a range ascends" in error or " twice" in error or "the largest number is" in error),
    ("\"*\" in heads beside layers", "the rule needs a sentence, not a schema", lambda error, text: "hides what" in error),
    ("key twice in one object", "a parsed document no longer shows it", lambda error, text: "appears twice" in error),
]
met = set()


def values_for(parameter):
    """Values around what the parameter accepts, as JSON texts."""
    texts = ["null", "true", "0", "1", "-1", "1.0", "2.0", "0.5", '"x"', '""', '"nan"', '"NaN"', '"inf"', '"10%"', '"0%"', '"100%"',
             '"101%"', '"-10%"', '"-0%"', '"+5%"', '"1e1%"', '"10 %"', '".5%"', '"5.%"', '"%"', '"007%"', '"0.000%"', '"100.0%"',
             '"100.1%"', '"' + "0." + "0" * 400 + '1%"', "1e300", "-0.0", "2147483647", "2147483648", "9223372036854775807",
             "9223372036854775808", "-9223372036854775809", "[]", "[0]", "[0.5]", '["x"]', "[true]", "[[1]]", "{}", '{"count": 64}']
    for bound in ("minimum", "maximum"):
        if bound in parameter:
            at = parameter[bound]
            texts += [json.dumps(at), json.dumps(at - 1), json.dumps(at + 1), json.dumps(at - 1e-6), json.dumps(at + 1e-6), f"[{json.dumps(at)}]",
                      f"[{json.dumps(at - 1)}]", f"[{json.dumps(at + 1)}]"]
            if at == int(at):
                texts += [str(int(at)), str(int(at) - 1), str(int(at) + 1), f"[{int(at)}]", f"[{int(at) - 1}]", f"[{int(at) + 1}]"]
    for name in parameter["enum_names"]:
        texts += [json.dumps(name), json.dumps(name.upper()), json.dumps(name + " ")]
    texts += [json.dumps(value) for value in parameter["sweep"]]
    if parameter["default"] is not None:
        texts.append(json.dumps(parameter["default"]))
    return list(dict.fromkeys(texts))


def with_value(config, place, key, text):
    """The config as text, with the member `key` of the object at `place` written as `text`, or taken out for None."""
    config = json.loads(json.dumps(config))
    node = config
    for token in place.split("/")[1:]:
        node = node[int(token)] if isinstance(node, list) else node[token]
    if text is None:
        del node[key]
    else:
        node[key] = "@value@"
    return json.dumps(config).replace('"@value@"', text or "")


documents = []
for table in tables:
    config, place = table["config"], table["place"]
    documents.append(json.dumps(config))
    documents.append(with_value(config, place, "no_such_key", "1"))
    for parameter in table["parameters"]:
        if parameter["required"]:
            documents.append(with_value(config, place, parameter["key"], None))
        documents += [with_value(config, place, parameter["key"], text) for text in values_for(parameter)]

# Structure: by hand.
INPUT = '"input": {"workload": "gaussian"}'
for stage in ('{"masker": "sink"}', '{"masker": "snik"}', '{"masker": 1}', '{"sink_size": 1}', '"sink"', "[]", "null", '{"masker": "sink", "heavy_size": 1}',
              '{"masker": "oracle_top_k"}', '{"masker": "oracle_top_k", "heavy_size": 1, "top_p": 0.5}', '{"masker": "oracle_top_k", "select": "top_p", "top_p": 0.5}',
              '{"masker": "oracle_top_k", "select": "top_p", "heavy_size": 1}', '{"masker": "oracle_top_k", "select": "threshold", "threshold": 0, "of": "total"}',
              '{"masker": "oracle_top_p", "top_p": 0.5, "of": "total"}', '{"masker": "oracle_top_p", "select": "top_k", "heavy_size": 1, "of": "total"}',
              '{"masker": "oracle_top_p", "select": "top_q"}', '{"masker": "sink", "name": "a b"}', '{"masker": "sink", "name": ""}',
              '{"masker": "sink", "name": ".a"}', '{"masker": "sink", "name": "a.b-c+d_e"}', '{"masker": "sink", "name": "' + "a" * 64 + '"}',
              '{"masker": "sink", "name": "' + "a" * 65 + '"}', '{"masker": "sink", "sink_size": 1, "sink_size": 2}'):
    documents.append('{"pipelines": {"main": [' + stage + "]}, " + INPUT + "}")
for name in ("a", "", ".a", "a/b", "a b", "\u00e4", "A-1_x.y+z", "a" * 64, "a" * 65):
    documents.append('{"pipelines": {' + json.dumps(name, ensure_ascii=False) + ": []}, " + INPUT + "}")
SAMPLER = '{"masker": "random_sampling", "sampling_rate": 0.5}'
for pipelines in ("{}", "[]", "null", '{"a": {}}', '{"a": null}', '{"a": [], "b": []}', '{"a": [{"masker": "sink"}, {"masker": "sink"}]}',
                  '{"a": [{"masker": "sink"}, {"masker": "sink", "name": "b"}]}', '{"a": [' + SAMPLER + "]}",
                  '{"a": [' + SAMPLER + ', {"masker": "random_sampling", "name": "b", "sampling_rate": 0.5}]}'):
    documents.append('{"pipelines": ' + pipelines + ", " + INPUT + "}")
POLICIES = ("{}", '{"layers": {}}', '{"layers": []}', '{"layers": {"0": "b"}}', '{"layers": {"0": "dense", "*": "b"}}', '{"layers": {"0,2-4": "b"}}',
            '{"layers": {"0": []}}', '{"layers": {"0": [{"masker": "sink"}]}}', '{"layers": {"0": [{"masker": "snik"}]}}', '{"layers": {"0": 3}}',
            '{"layers": {"0": null}}', '{"layers": {"0": {}}}', '{"layers": {"0": {"1": "b"}}}', '{"layers": {"0": {"1": []}}}',
            '{"layers": {"0": {"1": {"2": "b"}}}}', '{"heads": {"0": "b"}}', '{"heads": {"0": {"1": "b"}}}', '{"layers": {"0": "b"}, "heads": {"0-1": "dense"}}',
            '{"layers": {"0": "b"}, "heads": {"*": "dense"}}', '{"layers": {"0": "c"}}', '{"layers": {"0": "a"}}', '{"layers": {"a": "b"}}',
            '{"layers": {"0, 1": "b"}}', '{"layers": {"": "b"}}', '{"layers": {"0,*": "b"}}', '{"layers": {"-1": "b"}}', '{"layers": {"4-2": "b"}}',
            '{"layers": {"0": "b", "0-2": "b"}}', '{"layers": {"1048577": "b"}}', '{"layers": {"12345678": "b"}}', '{"layers": {"1-": "b"}}',
            '{"layer": {"0": "b"}}', '{"masker": "sink"}', '{"layers": {"layers": {"0": "b"}}}',
            '{"layers": {"0": [' + SAMPLER + ', {"masker": "random_sampling", "name": "b", "sampling_rate": 0.5}]}}',
            '{"layers": {"0": [{"masker": "sink"}, {"masker": "sink"}]}}', '{"layers": {"' + ",".join(map(str, range(300))) + '": "b"}}')
for policy in POLICIES:
    documents.append('{"pipelines": {"a": ' + policy + ', "b": []}, ' + INPUT + "}")
for compare in ('["a"]', '["a", "b"]', '["b", "a", "dense"]', '["a", "a"]', '["c"]', '"a"', "{}", "[1]"):
    documents.append('{"pipelines": {"a": {"heads": {"*": "b"}}, "b": []}, "compare": ' + compare + ", " + INPUT + "}")
for members in ('"input": {}', '"input": null', '"input": []', '"input": {"trace": "a", "npz": "b"}', '"input": {"trace": "a", "keys": 4}', '"input": {"npz": 3}',
                '"input": {"workload": "gausian"}', '"input": {"workload": "gaussian", "alpha": 1}', '"input": {"keys": 4}',
                '"input": {"workload": "gaussian", "kv_heads": 3}', '"input": {"workload": "gaussian", "queries": 9, "keys": 8}', '"title": "no input"',
                INPUT + ', "attention": null', INPUT + ', "attention": []', INPUT + ', "mode": "decode", "attention": {"causal": false}',
                INPUT + ', "mode": "decode", "attention": {"causal": true}', INPUT + ', "mode": "prefill", "attention": {"causal": false}',
                INPUT + ', "plugin_path": "p"', INPUT + ', "plugin_path": ["p", "q"]', INPUT + ', "plugin_path": [1]', INPUT + ', "plugin_path": {}',
                INPUT + ', "extends": 1', INPUT + ', "extends": [1]', INPUT + ', "$schema": "s.json"', INPUT + ', "schema": "s.json"',
                INPUT + ', "query": 3'):
    documents.append('{"pipelines": {"dense": []}, ' + members + "}")
documents += ["{}", "{" + INPUT + "}", "[]", "3", "null"]
documents = list(dict.fromkeys(documents))

with tempfile.TemporaryDirectory() as folder:
    answers = run([judge, "CONFIGS", *plugins], "\n".join(documents) + "\n", folder).splitlines()
check(len(answers) == len(documents), f"{len(documents)} documents, {len(answers)} answers")
accepted = 0
for text, answer in zip(documents, answers):
    errors = [error.message for error in validator.iter_errors(json.loads(text))]
    accepted += answer == "ok"
    if (answer == "ok") == (not errors):
        continue
    reasons = [name for name, _, rule in EXCEPTIONS if not errors and rule(answer, text)]
    met.update(reasons)
    check(reasons, f"attnlab: {answer[:300]}\n  jsonschema: {[error[:200] for error in errors] or 'ok'}\n  {text[:300]}")
for name, reason, _ in EXCEPTIONS:
    check(name in met, f"no document shows the exception \"{name}\" ({reason}): is it still one?")


# Committed configs, as they are and resolved, and the schema of single stages.
def without_comments(text):
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))


@functools.cache
def stage_validator(masker):
    alone = json.loads(run([program, "plugin", "schema", masker]))
    jsonschema.Draft202012Validator.check_schema(alone)
    return jsonschema.Draft202012Validator(alone)


def stages_of(pipeline):
    """The stages of a list, or those that stand in a policy."""
    if isinstance(pipeline, list):
        return pipeline
    values = pipeline.values() if isinstance(pipeline, dict) else []
    return [stage for value in values for stage in stages_of(value)]


# Configs of runs; the schema knows no other kind.
others = [pathlib.Path(source, folder) for folder in
          ("configs/compare", "configs/operators", "configs/schemes", "configs/sweeps", "configs/train",
           "plugins/schemes")]
files = sorted(file for folder in ("configs", "plugins") for file in pathlib.Path(source, folder).rglob("*.json" if folder == "configs" else "demo.json")
               if not any(other in file.parents for other in others))
check(len(files) >= 10, "committed configs are missing")
for file in files:
    config = json.loads(without_comments(file.read_text()))
    for error in validator.iter_errors(config):
        check(False, f"{file}: {error.message}")
    workload = [] if "input" in config else ["--set", '/input={"workload": "gaussian"}']
    resolved = json.loads(run([program, "config", "show", str(file), *workload]))
    for error in validator.iter_errors(resolved):
        check(False, f"{file}, resolved: {error.message}")
    for pipeline in resolved["pipelines"].values():
        for stage in stages_of(pipeline):
            for error in stage_validator(stage["masker"]).iter_errors(stage):
                check(False, f"{file}, stage {stage}: {error.message}")

# A file that extends another says a part only.
for partial in ('{"extends": "a.json"}', '{"extends": ["a.json"], "input": {"keys": 4}}', '{"extends": "a.json", "pipelines": {"x": []}}'):
    check(validator.is_valid(json.loads(partial)), partial)
for wrong in ('{"extends": "a.json", "input": {"kees": 4}}', '{"extends": "a.json", "input": {"keys": 0}}', '{"extends": "a.json", "pipelines": {"x": [{}]}}'):
    check(not validator.is_valid(json.loads(wrong)), wrong)

print(f"{len(documents)} documents, {accepted} accepted, {len(files)} files; exceptions: {', '.join(name for name, _, _ in EXCEPTIONS)}")
for failure in failures[:40]:
    print("FAILED:", failure)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
