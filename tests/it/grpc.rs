//! gRPC with the clients and servers of grpcio: all kinds of calls, through a cold start too, and errors in its own form.

use std::process::Command;

use crate::support::site::Site;
use crate::support::{eventually, skip};

const SERVER: &str = r#"
import os, sys, time, grpc
from concurrent import futures

def unary(request, context):
    if request == b"fail":
        context.set_trailing_metadata((("x-why", "asked"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: ä")
    context.set_trailing_metadata((("x-trailing", "yes"),))
    return b"unary " + request

def server_stream(request, context):
    for number in range(5):
        yield b"%d %s" % (number, request)

def client_stream(requests, context):
    return b" ".join(requests)

def both(requests, context):
    for request in requests:
        yield b"both " + request

class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/test.T/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.T/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
            "/test.T/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
            "/test.T/Both": grpc.stream_stream_rpc_method_handler(both),
        }.get(call.method)

time.sleep(float(os.environ.get("START_DELAY", "0")))
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port("127.0.0.1:" + os.environ["PORT"])
server.start()
server.wait_for_termination()
"#;

const CLIENT: &str = r#"
import sys, queue, grpc
address, host, what = sys.argv[1:4]
channel = grpc.insecure_channel(address, options=[("grpc.default_authority", host)])

def check(got, expected):
    if got != expected:
        sys.exit("got %r and not %r" % (got, expected))

unary = channel.unary_unary("/test.T/Unary")
if what == "all":
    answer, call = unary.with_call(b"hello", timeout=50)
    check(answer, b"unary hello")
    check(dict(call.trailing_metadata()).get("x-trailing"), "yes")
    check(len(unary(b"x" * 3000000, timeout=50)), 3000006)
    check(list(channel.unary_stream("/test.T/ServerStream")(b"s", timeout=50)), [b"%d s" % n for n in range(5)])
    check(channel.stream_unary("/test.T/ClientStream")(iter([b"a", b"b", b"c"]), timeout=50), b"a b c")
    # Each answer comes before the next is asked.
    asks = queue.Queue()
    answers = channel.stream_stream("/test.T/Both")(iter(asks.get, None), timeout=50)
    for number in range(5):
        asks.put(b"%d" % number)
        check(next(answers), b"both %d" % number)
    asks.put(None)
    check(list(answers), [])
    try:
        unary(b"fail", timeout=50)
        sys.exit("no error")
    except grpc.RpcError as error:
        check(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        check(error.details(), "as asked: ä")
        check(dict(error.trailing_metadata()).get("x-why"), "asked")
elif what == "stream":
    # A stream that is held while the version comes up.
    check(list(channel.stream_stream("/test.T/Both")(iter([b"a", b"b"]), timeout=50)), [b"both a", b"both b"])
else:
    try:
        unary(b"hello", timeout=50)
        sys.exit("no error")
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"#;

/// Python with grpcio, if there is one.
fn python() -> Option<String> {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import grpc"]).output().is_ok_and(|output| output.status.success());
    if found {
        return Some(python);
    }
    skip("grpcio", "`pip install grpcio`, or TIDEGATE_PYTHON names a Python that has it");
    None
}

fn site(python: &str) -> Site {
    let yaml = format!(
        "versions:\n  app-001:\n    command: [{python}, ../server.py]\n    protocol: h2c\n    env: {{START_DELAY: \"0.5\"}}\n"
    );
    let gone = "versions:\n  gone-001: {urls: [\"http://127.0.0.1:1\"], protocol: h2c}\n";
    let closed = "maintenance: {message: \"bis später\"}\n";
    Site::new()
        .file("server.py", SERVER)
        .file("client.py", CLIENT)
        .service("app", &yaml.replace("../server.py", "SERVER"))
        .service("gone", gone)
        .service("closed", closed)
        .arranged(|dir| {
            let path = dir.join("services/app.yaml");
            let text = std::fs::read_to_string(&path).expect("read");
            let server = dir.join("server.py").display().to_string();
            std::fs::write(path, text.replace("SERVER", &server)).expect("write");
        })
        .start()
}

fn client(python: &str, site: &Site, host: &str, what: &str) -> String {
    let output = Command::new(python)
        .arg(site.path().join("client.py"))
        .args([site.http().to_string().as_str(), host, what])
        .output()
        .expect("run");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn all_kinds_of_calls_pass_and_wake_what_sleeps() {
    let Some(python) = python() else { return };
    let site = site(&python);
    for what in ["all", "stream"] {
        eventually("it is asleep", || {
            let asleep = site.admin().post_json::<serde_json::Value>("/sleep?version=app-001", &serde_json::json!({}));
            (asleep.is_ok() && site.version("app-001")["state"] == "asleep").then_some(())
        });
        client(&python, &site, "app.localhost", what);
    }
    assert_eq!(site.version("app-001")["state"], "normal");
}

#[test]
fn errors_are_told_in_its_own_form() {
    let Some(python) = python() else { return };
    let site = site(&python);
    for (host, told) in [
        ("nobody.localhost", "UNIMPLEMENTED there is no service at this address"),
        ("gone.localhost", "UNAVAILABLE the service cannot be reached"),
        ("closed.localhost", "UNAVAILABLE bis später"),
    ] {
        assert_eq!(client(&python, &site, host, "error"), told);
    }
}
