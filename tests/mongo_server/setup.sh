#!/bin/sh
# Fetch the jars of the test database to lib/; Java and Maven are installed where that is allowed.
set -eu
cd "$(dirname "$0")"
if [ -n "${CRYSTENS_FLOWS_TEST_MONGO_URI:-}" ] || command -v mongod >/dev/null; then
    exit 0 # a real server is taken instead
fi
java_release() {
    javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p'
}
release=$(java_release || true)
if [ "${release:-0}" -lt 17 ]; then
    ../../scripts/ensure-packages.sh openjdk-17-jdk-headless
fi
if [ lib/.fetched -nt pom.xml ]; then
    exit 0
fi
command -v mvn >/dev/null || ../../scripts/ensure-packages.sh maven
mvn -q dependency:copy-dependencies -DoutputDirectory=lib
touch lib/.fetched
