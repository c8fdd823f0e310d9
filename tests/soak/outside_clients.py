"""Clients that do not use HTTP for their changes: SQL from outside the service, and the command line."""

import psycopg

from tests.soak.client import Client
from tests.soak.site import PASSWORD
from tests.support.external_sql import insert_users
from tests.support.service_process import run_program


class SqlClient(Client):
    """Changes names by SQL, and inserts and deletes users. Each is read by HTTP afterwards."""

    rate = 0.7

    def step(self) -> None:
        user_id, name = self.random.choice(self.load.base), self.name_of_new()
        with psycopg.connect(self.site.servers.postgres.url, autocommit=True) as connection:
            connection.execute("UPDATE users SET name = %s WHERE id = %s", [name, user_id])
            (inserted,) = insert_users(connection, name)
            self.send("GET", f"/api/users/{user_id}")
            connection.execute("DELETE FROM users WHERE id = %s", [inserted])
        self.load.count("writes", "writes", "writes")


class CommandClient(Client):
    """Creates a user and a token by commands, and removes both."""

    rate = 1 / 45

    def step(self) -> None:
        name = self.name_of_new()
        self.command("users", "create", "--username", name, "--password-stdin")
        user_id = self.send("GET", f"/api/users?username={name}").json[0]["id"]
        secret = self.command("tokens", "create", "--name", name, "--role", "member", "--user", name)
        self.send("GET", "/api/me", headers={"Authorization": f"Bearer {secret}"})
        self.send("DELETE", f"/api/users/{user_id}?purge=true", expect=(204,))

    def command(self, *arguments: str) -> str:
        """Run a flask command. Returns what it prints."""
        servers = self.site.servers
        env = {"DATABASE_URL": servers.postgres.url, "REDIS_URL": servers.redis.url, "LOG_LEVEL": "warning"}
        done = run_program("-m", "flask", *arguments, stdin=PASSWORD, **env, DATABASE_WAIT_S="5")
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout.strip()
