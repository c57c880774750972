"""Which nodes expressions select, and in which order."""

import pytest
from targets.fleet import Fleet, Machine, small_fleet

from director.errors import NoTargetError
from director.targets import explain, resolve

WEB = [f"web-{n:02}" for n in range(1, 13)]
WEB_ONLINE = [name for name in WEB if name not in ("web-05", "web-10")]


@pytest.mark.parametrize(
    ("expr", "nodes"),
    [
        ("web-07", ["web-07"]),
        ("db2", ["db2"]),
        ("web-[03,01-02]", ["web-03", "web-01", "web-02"]),
        ("web-01,web-01", ["web-01"]),
        ("web-*", WEB),
        ("web-0?", WEB[:9]),
        ("web-[0-1]1", ["web-01", "web-11"]),
        ("web-[01-03]*", WEB[:3]),
        ("?b[!1]", ["db2"]),
        ("d[a-c]1", ["db1"]),
        (r"~web-(0|1)\d", WEB),
        (r"~web-\d{1,2}[02468]", ["web-02", "web-04", "web-06", "web-08", "web-10", "web-12"]),
        ("~db", None),
        ("(~web-(01|02) or db1)", ["web-01", "web-02", "db1"]),
        ('~"db(1|2)"', ["db1", "db2"]),
        ("all", ["db1", *WEB_ONLINE]),
        ("label:tier=db", ["db1"]),
        ("label:keep", ["web-01"]),
        ('label:owner="A B"', ["db1"]),
        ("label:owner='A B' and all", ["db1"]),
        ('"label:tier=db"', None),
        ("fact:os.id=fedora", ["db1"]),
        ("fact:memory.total>10G", ["web-11", "web-12"]),
        ("fact:memory.total >= 11G", ["web-11", "web-12"]),
        ("fact:memory.total<1.5GiB", ["web-01"]),
        ("fact:memory.total<=2048M", ["web-01", "web-02"]),
        ("fact:cpu.count=3", ["web-03"]),
        ("fact:cpu.count!=3 and web-0[2-4]", ["web-02", "web-04"]),
        ("fact:os.version>=10", WEB_ONLINE),
        ("fact:os.version<9.10", ["db1"]),
        ("fact:addresses=10.0.0.7", ["web-07"]),
        ("fact:virtual=true", WEB_ONLINE),
        ("fact:cpu.count>many", None),
        ("fact:none!=x", None),
        ("fact:os=debian", None),
        ("not web-*", ["db1"]),
        ("not (web-* or db2)", ["db1"]),
        ("not not web-05", None),
        ("not not db1", ["db1"]),
        ("not web-* and not db2", ["db1"]),
        ("db2 or not web-*", ["db2", "db1"]),
        ("web-* and not web-0*", ["web-10", "web-11", "web-12"]),
        ("web-* and not all", ["web-05", "web-10"]),
        ("web-0[1-6] and (not web-01 or not web-05)", WEB[:6]),
        ("db1 or web-* and web-01", ["db1", "web-01"]),
        ("(db1 or web-*) and web-01", ["web-01"]),
        ("not db1 and web-01 or db1", ["web-01", "db1"]),
        ("db2,web-02 or db1", ["db2", "web-02", "db1"]),
        ("all and (web-02,db1,web-01)", ["web-02", "db1", "web-01"]),
        ("web-1* , db*", ["web-10", "web-11", "web-12", "db1", "db2"]),
        ("  db1\t", ["db1"]),
        ("'db1'", ["db1"]),
        ("not(web-01)and(web-0[1-2])", ["web-02"]),
        ("label:owner=A*", ["db1"]),
        ('label:owner="* B"', ["db1"]),
        ("label:tier=[!w]?", ["db1"]),
        ("label:tier=~d.", ["db1"]),
        ("label:tier=~d", None),
        ('label:owner=~"a b"', None),
        ('label:owner=~"(?i)a b"', ["db1"]),
        (r"label:tier=d\*", None),
        ("label:tier='~d.'", None),
        ("(db1,db2) and not label:tier=d*", None),
        ("fact:os.id=fed*", ["db1"]),
        (r"fact:os.version=~1[0-2](\..*)?", WEB_ONLINE),
        (r"fact:os.version!=~1[0-2](\..*)?", ["db1"]),
        ("fact:os.version!=1*", ["db1"]),
        ("fact:cpu.count=1?", ["web-11", "web-12"]),
        ("fact:virtual=t*", WEB_ONLINE),
        ("fact:addresses=10.0.0.0/30", ["web-01", "web-02", "web-03"]),
        ("fact:addresses=10.0.0.9/29 and fact:addresses=10.0.0.8/31", ["web-08", "web-09"]),
        ("fact:addresses=fe80::/10 and web-01", ["web-01"]),
        ("fact:addresses=fe80::/10,db1", [*WEB_ONLINE, "db1"]),
        ("fact:addresses=192.0.2.0/24", None),
        ("fact:addresses=10.0.0.0/33", None),
        ("web-01 and fact:addresses!=10.0.0.0/8", ["web-01"]),  # of a list one element is enough: fe80::1
        ("web-[^0]*", ["web-10", "web-11", "web-12"]),
        (r"web-[!0]\1", None),
    ],
)
def test_resolve(expr, nodes):
    if nodes is None:
        with pytest.raises((NoTargetError, ValueError)):
            resolve([expr], small_fleet())
    else:
        assert resolve([expr], small_fleet()).nodes == nodes


def test_what_is_excluded_by_label_or_fact_stays_excluded_while_offline():
    fleet = small_fleet()
    assert "web-05" not in resolve(["web-* and not label:keep=yes"], fleet).nodes
    assert "web-10" in resolve(["web-* and not label:keep=yes"], fleet).nodes
    assert "web-10" not in resolve(["web-* and not fact:cpu.count=10"], fleet).nodes
    assert resolve(["web-05,web-01 and not not label:keep"], fleet).nodes == ["web-05", "web-01"]


def test_the_union_keeps_the_order_and_says_what_is_unmatched():
    resolved = resolve(["db2", "web-01,nix-*,db2", "web-0[1-2]"], small_fleet())
    assert resolved.nodes == ["db2", "web-01", "web-02"]
    assert resolved.unmatched == ["nix-*"]


def test_no_expression_means_every_node_online():
    assert resolve([], small_fleet()).nodes == ["db1", *WEB_ONLINE]
    with pytest.raises(NoTargetError, match=r"online now \(1 offline: a\)"):
        resolve([], Fleet({"a": Machine(online=False)}))
    with pytest.raises(NoTargetError, match="no node is enrolled"):
        resolve([], Fleet({}))


def test_stage_names():
    stages = {"web": ["web-03", "web-01"], "db1": ["db2"], "empty": []}
    fleet = small_fleet()
    assert resolve(["web"], fleet, stages).nodes == ["web-03", "web-01"]
    assert resolve(["db1"], fleet, stages).nodes == ["db2"]
    assert resolve(["web and not web-01"], fleet, stages).nodes == ["web-03"]
    assert resolve(["empty"], fleet, stages).nodes == []


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("web-1", ["no node is named web-1", "close: web-01"]),
        ("stolen", ["stolen is revoked and can be no target", "--renew-node"]),
        ("WEB_01", ["close: web-01"]),
        ("db1.example.org", ["close: db1"]),
        ("web-01 or dbb1", ["named dbb1", "db1"]),
        ("web-01 and not nobody", ["no node is named nobody"]),
        ("web-[11-15]", ["web-[13-15] (of web-[11-15])"]),
        ("wbe-*", ["wbe-* matches no node", "web-"]),
        ("label:tier=wbe", ["matches no node online now", "label tier is web, db"]),
        ("label:teir=web", ["no node has the label teir", "tier"]),
        ("label:tier=db and web-*", ["label:tier=db matches 1", "web-* matches 12"]),
        ("label:keep=yes and db*", ["label:keep=yes matches 1", "db* matches 2"]),
        ("fact:cpu.count=10", ["offline: web-10"]),
        ("fact:os.id=debain", ["fact os.id is debian, fedora"]),
        ("fact:os=debian", ["fact os has the parts os.id"]),
        ("fact:osid=debian", ["no node has the fact osid", "os"]),
    ],
)
def test_an_expression_without_nodes_suggests_similar_ones(expr, said):
    with pytest.raises(NoTargetError) as caught:
        resolve([expr], small_fleet())
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    for part in said:
        assert part in str(caught.value)


def test_one_expression_without_nodes_is_an_error():
    with pytest.raises(NoTargetError):
        resolve(["web-01", "nix-*"], small_fleet())


def test_facts_are_read_once_and_only_where_they_matter():
    fleet = small_fleet()
    resolve(["fact:os.id=debian and web-0[1-3],fact:cpu.count=2 and web-02"], fleet)
    assert sorted(fleet.asked) == ["web-01", "web-02", "web-03"]
    fleet = small_fleet()
    resolve(["web-*,db1 and label:tier"], fleet)
    assert fleet.asked == []


@pytest.mark.parametrize(
    ("expr", "name", "reason"),
    [
        ("web-01", "db1", "is not web-01"),
        ("web-[01-02]", "db1", "not one of"),
        ("web-*", "db1", "does not match web-*"),
        ("all", "db2", "offline"),
        ("not web-*", "db2", "offline"),
        ("not db1", "db1", "excluded by not db1"),
        ("label:tier=web", "db1", "label tier is db"),
        ("label:tier=web", "web-05", "offline"),
        ("label:keep", "web-02", "has no label keep"),
        ("fact:os.id=debian", "db1", "fact os.id is fedora"),
        ("fact:cpu.count>1", "db1", "has no fact cpu.count"),
        ("web-* and not web-01", "web-01", "excluded by not web-01"),
        ("web-01,web-02", "db1", "is not web-01; is not web-02"),
    ],
)
def test_explain(expr, name, reason):
    assert reason in explain(expr, small_fleet())[name]


def test_explain_and_resolve_agree():
    fleet = small_fleet()
    for expr in ("web-*", "not web-01", "all and db*", "label:tier=web or db2"):
        assert set(explain(expr, fleet)) == set(fleet.names()) - set(resolve([expr], fleet).nodes)


@pytest.mark.parametrize("expr", ["web-[00000-09999]", "web-*", r"~web-\d+", "all", "label:tier", "web-00001"])
@pytest.mark.timeout(30)
def test_ten_thousand_nodes(expr):
    fleet = Fleet({f"web-{n:05}": Machine(labels={"tier": "web"}) for n in range(10_000)})
    assert len(resolve([expr], fleet).nodes) in (1, 10_000)
