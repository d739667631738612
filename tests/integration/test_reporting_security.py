"""Who we are to the broker, and what we say when it does not believe us."""

from __future__ import annotations

import logging
import subprocess

import pytest

from edge.config import MqttConfig, OutboxConfig, TlsConfig
from edge.errors import BrokerRefused
from edge.reporting.compose import Composer, Service
from edge.reporting.reporter import Reporter
from edge.reporting.topics import Topics
from tests.integration.broker import Mosquitto, wait_until
from tests.integration.test_reporting_delivery import submit

pytestmark = pytest.mark.usefixtures("quick_reconnect")

SECRET = "open sesame"


@pytest.fixture
def reporter_for(tmp_path):
    """Return a function that starts a reporter with these `mqtt` settings; all are stopped."""
    started = []

    def start(**mqtt):
        composer = Composer(Topics("aisle-edge", "north", "a07"), ())
        reporter = Reporter(
            OutboxConfig(path=tmp_path / f"outbox{len(started)}.db"),
            MqttConfig(**{"host": "127.0.0.1"} | mqtt),
            composer,
            Service(),
        )
        started.append(reporter)
        reporter.start()
        submit(reporter, composer, 20)
        return reporter

    yield start
    for reporter in started:
        assert reporter.stop(3)


def refusal(reporter):
    wait_until(lambda: reporter.health().failure, what="refused")
    failure = reporter.health().failure
    assert isinstance(failure, BrokerRefused)
    assert failure.exit_code == 3
    assert "\n" not in str(failure)
    return str(failure)


def delivered(reporter):
    wait_until(lambda: reporter.health().acknowledged == 20, what="delivered")


class TestPassword:
    @pytest.fixture
    def broker(self, mosquitto, tmp_path):
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "a07", SECRET],
            check=True,
            timeout=10,
            capture_output=True,
        )
        (tmp_path / "passwords").chmod(0o644)
        (tmp_path / "access").write_text("user a07\ntopic readwrite aisle-edge/#\n")
        lines = ["allow_anonymous false", "password_file {folder}/passwords"]
        with Mosquitto(mosquitto, tmp_path, lines) as running:
            yield running

    @pytest.fixture
    def password_file(self, tmp_path):
        path = tmp_path / "secret"
        path.write_text(f"{SECRET}\n")
        return path

    def test_comes_from_its_file_without_the_line_end(self, broker, password_file, reporter_for):
        delivered(reporter_for(port=broker.port, username="a07", password_file=password_file))

    def test_a_byte_order_mark_is_no_part_of_it(self, broker, password_file, reporter_for):
        password_file.write_bytes(b"\xef\xbb\xbf" + SECRET.encode() + b"\r\n")

        delivered(reporter_for(port=broker.port, username="a07", password_file=password_file))

    def test_comes_from_the_environment(self, broker, reporter_for, monkeypatch):
        monkeypatch.setenv("AISLE_EDGE_MQTT_USERNAME", "a07")
        monkeypatch.setenv("AISLE_EDGE_MQTT_PASSWORD", SECRET)

        delivered(reporter_for(port=broker.port))

    def test_a_wrong_one_is_a_refusal_that_says_what_to_check(
        self, broker, password_file, reporter_for, caplog
    ):
        caplog.set_level(logging.DEBUG)
        password_file.write_text("wrong horse")

        text = refusal(reporter_for(port=broker.port, username="a07", password_file=password_file))

        assert f"127.0.0.1:{broker.port}" in text
        assert "check mqtt.username, the password" in text
        assert "wrong horse" not in text + caplog.text

    def test_none_at_all_is_a_refusal(self, broker, reporter_for):
        assert "refused the connection" in refusal(reporter_for(port=broker.port))

    def test_a_missing_file_is_named(self, broker, tmp_path, reporter_for):
        text = refusal(
            reporter_for(port=broker.port, username="a07", password_file=tmp_path / "none")
        )

        assert f"mqtt.password_file {tmp_path / 'none'}: No such file" in text

    def test_a_changed_password_is_only_retried_once_we_were_in(
        self, broker, password_file, reporter_for, tmp_path
    ):
        reporter = reporter_for(port=broker.port, username="a07", password_file=password_file)
        delivered(reporter)
        command = ["mosquitto_passwd", "-b", tmp_path / "passwords", "a07", "new"]
        subprocess.run(command, check=True, timeout=10, capture_output=True)
        broker.stop()
        broker.start()
        wait_until(lambda: "refused" in (reporter.health().broker_trouble or ""), 20)
        assert reporter.health().failure is None

        password_file.write_text("new\n")

        wait_until(lambda: reporter.health().connected, 30, "the file is read again")


class TestLimits:
    @pytest.mark.parametrize("line", ["max_packet_size 3000", "message_size_limit 3000"])
    def test_a_message_too_large_for_the_broker_is_kept_and_holds_up_no_other(
        self, mosquitto, tmp_path, reporter_for, caplog, line
    ):
        with Mosquitto(mosquitto, tmp_path, [line]) as broker:
            reporter = reporter_for(port=broker.port)
            composer = Composer(Topics("aisle-edge", "north", "a07"), ())
            reporter.submit(composer.gap(500, [(seq, seq) for seq in range(1, 1000, 2)]))
            submit(reporter, composer, 20)

            wait_until(lambda: reporter.health().acknowledged == 40)
            wait_until(lambda: "too large" in caplog.text or "bytes, the broker" in caplog.text)
            assert reporter.health().backlog == 1
            assert reporter.health().connected
            assert "does not take messages on aisle-edge/north/a07/gap" in caplog.text
            assert "connection was lost" not in caplog.text

    @pytest.mark.parametrize(
        ("line", "hint"),
        [("max_qos 0", "have the broker take QoS 1"), ("retain_available false", "keep retained")],
    )
    def test_a_broker_that_cannot_do_what_we_need_is_a_refusal_that_says_what(
        self, mosquitto, tmp_path, reporter_for, line, hint
    ):
        with Mosquitto(mosquitto, tmp_path, [line]) as broker:
            assert hint in refusal(reporter_for(port=broker.port))


class TestAccessList:
    def test_what_the_broker_does_not_take_is_kept_and_sent_when_it_does(
        self, mosquitto, tmp_path, reporter_for, caplog
    ):
        access = tmp_path / "access"
        access.write_text("topic readwrite aisle-edge/north/a07/status\n")
        with Mosquitto(mosquitto, tmp_path, ["acl_file {folder}/access"]) as broker:
            reporter = reporter_for(port=broker.port)
            wait_until(lambda: "does not take messages" in caplog.text)
            wait_until(lambda: reporter.health().backlog == 20, what="all of them are kept")
            assert reporter.health().acknowledged == 0
            errors = [r for r in caplog.records if "does not take" in r.message]
            assert len(errors) == 1, "it does not spin"
            assert "access list" in errors[0].message

            access.write_text("topic readwrite aisle-edge/#\n")
            broker.stop()
            broker.start()

            wait_until(lambda: reporter.health().acknowledged == 20, 30)


def openssl(*arguments, cwd):
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=cwd)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Make two authorities, `ca` and `other`, with `server` and `client` signed by the first."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "other"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{authority}.key", "-out", f"{authority}.crt", "-days", "2"),
            *("-subj", f"/CN={authority}"),
            cwd=folder,
        )
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        (folder / f"{name}.ext").write_text("subjectAltName = IP:127.0.0.1\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
            cwd=folder,
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-days", "2"),
            *("-CAkey", f"{authority}.key", "-CAcreateserial", "-out", f"{name}.crt"),
            *("-extfile", f"{name}.ext"),
            cwd=folder,
        )
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@pytest.mark.needs("openssl")
class TestTls:
    @pytest.fixture
    def broker(self, mosquitto, tmp_path, certificates):
        lines = [
            "listener {port} 127.0.0.1",
            f"cafile {certificates}/ca.crt",
            f"certfile {certificates}/server.crt",
            f"keyfile {certificates}/server.key",
            "require_certificate true",
        ]
        with Mosquitto(mosquitto, tmp_path, lines) as running:
            yield running

    def tls(self, folder, ca="ca", client="client"):
        return TlsConfig(
            ca_file=folder / f"{ca}.crt",
            cert_file=folder / f"{client}.crt" if client else None,
            key_file=folder / f"{client}.key" if client else None,
        )

    def test_delivers_with_a_client_certificate(self, broker, certificates, reporter_for):
        delivered(reporter_for(port=broker.port, tls=self.tls(certificates)))

    def test_an_unknown_authority_is_refused_and_named(self, broker, certificates, reporter_for):
        text = refusal(reporter_for(port=broker.port, tls=self.tls(certificates, ca="other")))

        assert "its certificate is not accepted" in text
        assert "mqtt.tls.ca_file" in text

    def test_another_host_name_is_refused_and_named(self, broker, certificates, reporter_for):
        text = refusal(reporter_for(host="localhost", port=broker.port, tls=self.tls(certificates)))

        assert "mqtt.host must be a name or an address in the broker's" in text

    @pytest.mark.parametrize("client", [None, "stranger"])
    def test_a_client_certificate_it_does_not_trust(
        self, broker, certificates, reporter_for, client
    ):
        text = refusal(reporter_for(port=broker.port, tls=self.tls(certificates, client=client)))

        assert "mqtt.tls.cert_file and key_file must be" in text

    def test_a_missing_file_of_ours_is_named(self, broker, tmp_path, reporter_for):
        text = refusal(reporter_for(port=broker.port, tls=TlsConfig(ca_file=tmp_path / "none")))

        assert f"mqtt.tls.ca_file {tmp_path / 'none'}: No such file" in text

    def test_no_tls_at_a_tls_port_says_so(self, broker, reporter_for):
        reporter = reporter_for(port=broker.port, tls=False)

        wait_until(lambda: reporter.health().broker_trouble)
        assert reporter.health().failure is None

    def test_tls_at_a_plain_port_says_so(self, mosquitto, tmp_path, certificates, reporter_for):
        with Mosquitto(mosquitto, tmp_path) as plain:
            reporter = reporter_for(port=plain.port, tls=self.tls(certificates))

            wait_until(lambda: reporter.health().broker_trouble)
            assert reporter.health().failure is None


def test_a_broker_that_is_not_there_is_said_once_with_the_next_step(reporter_for, caplog):
    reporter = reporter_for(port=1)

    wait_until(lambda: reporter.health().broker_trouble == "nothing listens there")
    (said,) = [r.message for r in caplog.records if "nothing listens" in r.message]
    assert said.startswith("mqtt 127.0.0.1:1: nothing listens there; start the broker, or correct")
