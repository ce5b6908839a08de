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
validators = {}
for kind in ("run", "sweep", "train", "compare", "operators", "forward"):
    schema = json.loads(run([program, "config", "schema", "--kind", kind, *plugin_options]))
    jsonschema.Draft202012Validator.check_schema(schema)
    validators[kind] = jsonschema.Draft202012Validator(schema)
validator = validators["run"]
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
    ("names of pipelines and subjects", "JSON Schema cannot relate a value to keys elsewhere",
     lambda error, text: "has no such pipeline" in error or "there is no such subject" in error),
    ("heads, layers and updates of a model that fit each other", "JSON Schema cannot relate two values",
     lambda error, text: any(said in error for said in ("share the embedding's channels", "share the query heads", "need an even head_dim",
                                                       "has one for each layer", "learning rate would rise", "warm-up would never end",
                                                       "are of causal operators"))),
    ("amounts of memory", "a pattern sees digits, not the number", lambda error, text: "no amount of memory" in error),
    ("expressions of sweeps", "their grammar is no regular one",
     lambda error, text: "expression cannot be read" in error or "there is no such metric" in error or "made of metrics" in error
     or "is no objective" in error or "constraint compares" in error or "holds always or never" in error),
    ("what an axis leads to", "JSON Schema cannot look a pointer up",
     lambda error, text: "has a number here" in error or "no axis before this condition" in error or "the axis never has" in error
     or "there is no such stage" in error or "no such list element" in error or "no parameter of these stages" in error or "is a policy" in error or error.split(":")[2:3] == [" the point {\"/seed\""]),
    ("files that are there", "JSON Schema does not look at the disk", lambda error, text: "its base does not exist" in error),
    ("axes that fit each other", "JSON Schema cannot relate two values",
     lambda error, text: "upside down" in error or "choose the same value" in error or "equally many values" in error
     or "can be counted" in error or "the step is too small" in error or "too many axes" in error),
    ("values and objectives that differ", "uniqueItems takes 1 and 1.0 for the same", lambda error, text: "stands twice" in error),
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


documents = []  # of runs
others = []  # kind and text of the rest
for table in tables:
    config, place = table["config"], table["place"]
    texts = [json.dumps(config), with_value(config, place, "no_such_key", "1")]
    for parameter in table["parameters"]:
        if parameter["required"]:
            texts.append(with_value(config, place, parameter["key"], None))
        # A comparison puts member over member: there an empty object says nothing.
        texts += [with_value(config, place, parameter["key"], text) for text in values_for(parameter)
                  if table["kind"] != "compare" or text != "{}"]
    if table["kind"] == "run":
        documents += texts
    else:
        others += [(table["kind"], text) for text in texts]

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

# Sweeps.
BASE = '"base": {"pipelines": {"main": [{"masker": "sink", "sink_size": 2}, {"masker": "local", "window_size": 4}]}, ' + INPUT + "}"
SINK, WINDOW = '"/pipelines/main/0/sink_size"', '"/pipelines/main/local/window_size"'
AXES = ("[1, 2]", "[]", "[1, 1]", "[1]", "1", "null", "{}", '{"range": [1, 9]}', '{"range": [1, 9], "step": 2}', '{"range": [1, 9], "step": 0}',
        '{"range": [1, 9], "step": -1}', '{"range": [1, 9], "step": null}', '{"range": [1, 9], "count": 3}', '{"range": [1, 9], "count": 1}',
        '{"range": [1, 9], "count": 10001}', '{"range": [1, 9], "count": 3, "step": 1}', '{"range": [9, 1]}', '{"range": [1]}', '{"range": [1, 2, 3]}',
        '{"range": 3}', '{"range": ["1", 2]}', '{"range": [1, 9], "steps": 3}', '{"log_range": [1, 9]}', '{"log_range": [0, 9]}',
        '{"log_range": [-1, 9]}', '{"log_range": [1, 9], "count": 4}', '{"log_range": [1, 9], "step": 4}', '{"range": [1, 2], "log_range": [1, 2]}',
        '{"range": [1, 1e16]}', '{"range": [true, 2]}', '{"from": 1, "to": 2}')
for axis in AXES:
    others.append(("sweep", "{" + BASE + ', "space": {' + SINK + ": " + axis + "}}"))
    others.append(("sweep", "{" + BASE + ', "space": {"zip": [{' + SINK + ": " + axis + ", " + WINDOW + ": [1, 2]}]}}"))
for space in ("{}", "[]", "null", '{"sink_size": [1]}', '{"/title": ["a"]}', '{"/plugin_path": ["a"]}', '{"/seeds": [1]}', '{"/seed": [1, 2]}', '{"": [1]}',
              '{"/input": [{"workload": "gaussian"}, {"workload": "needle"}]}', '{"zip": {}}', '{"zip": [{}]}', '{"zip": [{"/seed": [1]}]}', '{"zips": []}'):
    others.append(("sweep", "{" + BASE + ', "space": ' + space + "}"))
SPACE = '"space": {"/seed": [1, 2]}'
for members in ("", SPACE, '"default_space": true', '"default_space": false', '"default_space": ["/pipelines/main/0"]', '"default_space": ["/pipelines/main/9"]',
                '"default_space": []', '"default_space": ["sink"]', '"default_space": "sink"', '"default_space": null', SPACE + ', "extra": 1',
                SPACE + ', "pipelines": {}', SPACE + ', "plugin_path": "p"', SPACE + ', "$schema": "s.json"'):
    others.append(("sweep", "{" + BASE + (", " if members else "") + members + "}"))
for base in ("{}", "[]", "null", "3", '"there_is_no_such_file.json"', '{"pipelines": {"main": []}}', "{" + INPUT + "}", '{"pipelines": {"main": [{"masker": "snik"}]}, ' + INPUT + "}",
             '{"pipelines": {}, ' + INPUT + "}", '{"pipelines": {"main": []}, "mode": "decode", ' + INPUT + "}", '{"pipelines": {"main": []}, "mood": "decode", ' + INPUT + "}",
             '{"extends": "a.json", "pipelines": {"main": []}, ' + INPUT + "}"):
    others.append(("sweep", '{"base": ' + base + ", " + SPACE + "}"))
others.append(("sweep", "{" + SPACE + "}"))
OBJECTIVES = ('"output_error"', '{"minimise": "output_error"}', '{"maximise": "mass_recall"}', '{"minimise": "output_eror"}', '{"minimise": 1}', "{}", "[]",
              '{"minimise": "density", "maximise": "density"}', '{"minimize": "density"}', '{"preset": "hub"}', '{"preset": "hub", "target_density": 0.1}',
              '{"preset": "hub", "target_density": 0}', '{"preset": "hub", "target_density": 1.5}', '{"preset": "hub", "target_density": "10%"}',
              '{"preset": "hub", "minimise": "density"}', '{"preset": "hob"}', '[{"minimise": "density"}]', '[{"minimise": "density"}, {"minimise": "density"}]',
              '{"minimise": "density < 1"}', '{"minimise": "density +"}', '{"minimise": "' + "density + " * 60 + 'density"}', "null",
              "[" + ", ".join('{"minimise": "density + %d"}' % i for i in range(17)) + "]")
for objective in OBJECTIVES:
    others.append(("sweep", "{" + BASE + ", " + SPACE + ', "objective": ' + objective + "}"))
for conditions in ("[]", '[{"if": {"/seed": 1}, "then": {' + SINK + ": [1, 4]}}]", '[{"if": {"/seed": [1, 2]}, "then": {' + SINK + ": [1, 4]}}]", '[{"if": {"/seed": 1}}]',
                   '[{"if": {}, "then": {' + SINK + ": [1]}}]", '[{"if": {"/seed": 1}, "then": {}}]', '[{"if": {"/seed": 3}, "then": {' + SINK + ": [1]}}]",
                   '[{"if": {"/queries": 3}, "then": {' + SINK + ": [1]}}]", '[{"if": {"/seed": 1}, "then": {' + SINK + ": 1}}]",
                   '[{"if": {"/seed": 1}, "then": {' + SINK + ': [1]}, "else": {}}]', '[{"if": {"seed": 1}, "then": {' + SINK + ": [1]}}]", "3", "[3]"):
    others.append(("sweep", "{" + BASE + ", " + SPACE + ', "conditions": ' + conditions + "}"))
for constraint in ('"density <= 0.1"', '"/seed <= 2"', '"density"', '"1 < 2"', '"/pipelines/main/0/name < 2"', "1", '""', '"densty < 1"'):
    others.append(("sweep", "{" + BASE + ", " + SPACE + ', "constraints": [' + constraint + "]}"))
RUNGS = '"rungs": [{"/input/keys": 64}, {}]'
for sampler in ("{}", "null", '"grid"', '{"kind": "grid"}', '{"kind": "grid", "trials": 4}', '{"trials": 4}', '{"kind": "random"}', '{"kind": "random", "trials": 4, "batch": 2}',
                '{"kind": "tpe", "trials": 4, "batch": 2, "startup": 2, "good": 0.5}', '{"kind": "tpee", "trials": 4}', '{"kind": "successive_halving", "trials": 4}',
                '{"kind": "successive_halving", ' + RUNGS + "}", '{"kind": "successive_halving", "trials": 4, ' + RUNGS + "}",
                '{"kind": "successive_halving", "first": "grid", ' + RUNGS + "}", '{"kind": "successive_halving", "first": "grid", "trials": 4, ' + RUNGS + "}",
                '{"kind": "successive_halving", "first": "tpe", "trials": 4, ' + RUNGS + "}", '{"kind": "successive_halving", "trials": 4, "rungs": [{}]}',
                '{"kind": "successive_halving", "trials": 4, "rungs": [{}, {"keys": 3}]}', '{"kind": "successive_halving", "trials": 4, "rungs": [{}, 3]}',
                '{"kind": "random", "trials": 4, ' + RUNGS + "}"):
    others.append(("sweep", "{" + BASE + ", " + SPACE + ', "sampler": ' + sampler + "}"))
for memory in ("2 GiB", "2GiB", "512 MiB", "1.5 GiB", "1e3 MiB", ".5 GiB", "2 GB", "2", "", "GiB", "-1 GiB", "1 KiB", "2000 TiB", "2 GiB "):
    others.append(("sweep", "{" + BASE + ", " + SPACE + ', "limits": {"memory": ' + json.dumps(memory) + "}}"))

# Schemes, models and what is compared.
SCHEMES = ('{"scheme": "mha"}', '{"scheme": "mah"}', '{"scheme": "sink"}', "{}", "null", '"mha"', '{"scheme": "mha", "no_such_key": 1}', '{"scheme": 3}',
           '[{"scheme": "mha"}, {"scheme": "mla", "latent_dim": 8}]', "[]", '[{"latent_dim": 8}, {"scheme": "mha"}]',
           '{"scheme": "sparse", "pipeline": [{"masker": "sink"}]}', '{"scheme": "sparse", "pipeline": [{"masker": "snik"}]}')
TASK = '"task": {"generated": "recall"}'
for scheme in SCHEMES:
    if not scheme.startswith("["):
        others.append(("forward", '{"attention": ' + scheme + "}"))
        others.append(("operators", '{"spectrum": {}, "operators": {"a": ' + scheme + "}}"))
    others.append(("train", '{"model": {"layers": 2}, ' + TASK + ', "attention": ' + scheme + "}"))
for task in ("{}", "null", '{"text": "x"}', '{"text": 3}', '{"text": "x", "pairs": 3}', '{"generated": "recall", "pairs": 3}', '{"generated": "recal"}', '{"pairs": 3}',
             '{"text": "x", "generated": "recall"}', '{"generated": "recall", "tokeniser": "bytes"}'):
    others.append(("train", '{"model": {}, "attention": {"scheme": "mha"}, "task": ' + task + "}"))
for members in ("", '"seed": 0', '"seed": -1', '"seed": "x"', '"allow_noncausal": true', '"allow_noncausal": 1', '"title": 3', '"plugin_path": "p"', '"model": null', '"extra": 1'):
    others.append(("train", '{"attention": {"scheme": "mha"}, ' + TASK + (", " if members else "") + members + "}"))
COMMON = '"attention": {"scheme": "mha"}, ' + TASK
for members in ('"subjects": {"a": {}}', '"subjects": {}', '"subjects": []', '"subjects": {"a/b": {}}', '"subjects": {"a": 3}', '"subjects": {"a": {"task": {}}}',
                '"subjects": {"a": {"seed": 3}}', '"subjects": {"a": {"attention": {"num_kv_heads": 1}}}', '"subjects": {"a": {"attention": {"scheme": "mla", "latent_dim": 8}}}',
                '"subjects": {"a": {"model": {"layers": 0}}}', '"subjects": {"a": {"model": {"layers": 2}}}', '"subjects": {"a": {"train": {"stepps": 1}}}',
                '"subjects": {"a": {}}, "seeds": 3', '"subjects": {"a": {}}, "seeds": 0', '"subjects": {"a": {}}, "seeds": [1, 5]', '"subjects": {"a": {}}, "seeds": [1, 1]',
                '"subjects": {"a": {}}, "seeds": []', '"subjects": {"a": {}}, "seeds": 1001', '"subjects": {"a": {}}, "seeds": "3"', '"subjects": {"a": {}}, "base": 3', ""):
    others.append(("compare", "{" + COMMON + (", " if members else "") + members + "}"))
for members in ("", '"spectrum": {}', '"scaling": {}', '"spectrum": null', '"spectrum": {"tokens": 64}', '"spectrum": {"tokens": [64, 2]}', '"spectrum": {"tokens": []}',
                '"spectrum": {"tokens": 1}', '"spectrum": {"tokens": 8193}', '"spectrum": {"draw": {"a": {"normal": 2}}}', '"spectrum": {"draw": {"a": {"normal": 0}}}',
                '"spectrum": {"draw": {"a": {"uniform": [-1, 0]}}}', '"spectrum": {"draw": {"a": {"uniform": [1]}}}', '"spectrum": {"draw": {"a": {"normal": 1, "uniform": [0, 1]}}}',
                '"spectrum": {"draw": 3}', '"scaling": {"mode": "decode"}', '"scaling": {"mode": ["prefill", "decode"]}', '"scaling": {"mode": []}', '"scaling": {"mode": "both"}',
                '"scaling": {"tokens": [1, 1048576]}', '"scaling": {"tokens": 1048577}', '"scaling": {}, "title": "a"', '"scaling": {}, "plugin_path": ["p"]', '"scaling": {}, "extra": 1'):
    others.append(("operators", '{"operators": {"a": {"scheme": "softmax"}}' + (", " if members else "") + members + "}"))
others += [(kind, text) for kind in validators if kind != "run" for text in ("{}", "[]", "3", "null")]

judged = []  # kind, text, answer
for kind in validators:
    texts = list(dict.fromkeys(documents if kind == "run" else [text for other, text in others if other == kind]))
    with tempfile.TemporaryDirectory() as folder:
        answers = run([judge, kind, *plugins], "\n".join(texts) + "\n", folder).splitlines()
    check(len(answers) == len(texts), f"{kind}: {len(texts)} documents, {len(answers)} answers")
    judged += [(kind, text, answer) for text, answer in zip(texts, answers)]
accepted = 0
for kind, text, answer in judged:
    errors = [error.message for error in validators[kind].iter_errors(json.loads(text))]
    accepted += answer == "ok"
    if (answer == "ok") == (not errors):
        continue
    reasons = [name for name, _, rule in EXCEPTIONS if not errors and rule(answer, text)]
    met.update(reasons)
    check(reasons, f"{kind}: attnlab: {answer[:300]}\n  jsonschema: {[error[:200] for error in errors] or 'ok'}\n  {text[:300]}")
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


FOLDERS = {"sweep": "sweeps", "train": "train", "compare": "compare", "operators": "operators", "forward": "schemes"}
elsewhere = [pathlib.Path(source, "configs", folder) for folder in FOLDERS.values()] + [pathlib.Path(source, "plugins/schemes")]
files = sorted(file for folder in ("configs", "plugins") for file in pathlib.Path(source, folder).rglob("*.json" if folder == "configs" else "demo.json")
               if not any(folder in file.parents for folder in elsewhere))
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

for kind, folder in FOLDERS.items():
    own = sorted(pathlib.Path(source, "configs", folder).glob("*.json"))
    check(own, f"there are no configs in {folder}")
    for file in own:
        for error in validators[kind].iter_errors(json.loads(without_comments(file.read_text()))):
            check(False, f"{file}: {error.message}")

# A file that extends another says a part only.
for kind, partial in (("sweep", '{"extends": "a.json", "sampler": {"trials": 4}}'), ("sweep", '{"extends": "a.json", "base": {"input": {"keys": 4}}}'),
                      ("train", '{"extends": "a.json", "attention": {"latent_dim": 4}, "task": {"pairs": 4}}'), ("compare", '{"extends": "a.json", "seeds": 4}'),
                      ("operators", '{"extends": "a.json", "scaling": {}}'), ("forward", '{"extends": "a.json", "kv_heads": 2}')):
    check(validators[kind].is_valid(json.loads(partial)), partial)
for kind, wrong in (("sweep", '{"extends": "a.json", "sampler": {"trails": 4}}'), ("train", '{"extends": "a.json", "task": {"pears": 4}}'),
                    ("compare", '{"extends": "a.json", "sedes": 4}'), ("operators", '{"extends": "a.json", "scale": {}}'), ("forward", '{"extends": "a.json", "kv_heads": 0}')):
    check(not validators[kind].is_valid(json.loads(wrong)), wrong)
for partial in ('{"extends": "a.json"}', '{"extends": ["a.json"], "input": {"keys": 4}}', '{"extends": "a.json", "pipelines": {"x": []}}'):
    check(validator.is_valid(json.loads(partial)), partial)
for wrong in ('{"extends": "a.json", "input": {"kees": 4}}', '{"extends": "a.json", "input": {"keys": 0}}', '{"extends": "a.json", "pipelines": {"x": [{}]}}'):
    check(not validator.is_valid(json.loads(wrong)), wrong)

print(f"{len(judged)} documents, {accepted} accepted, {len(files)} files of runs; exceptions: {', '.join(name for name, _, _ in EXCEPTIONS)}")
for failure in failures[:40]:
    print("FAILED:", failure)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
