#!/bin/sh
# Fetch the jars of the test database to lib/; Java and Maven are installed where that is allowed.
set -eu
cd "$(dirname "$0")"
if [ -n "${CRYSTENS_FLOWS_TEST_MONGO_URI:-}" ] || command -v mongod >/dev/null; then
    mkdir -p lib
    exit 0
fi
if ! command -v javac >/dev/null || ! command -v mvn >/dev/null; then
    ../../scripts/ensure-packages.sh default-jdk-headless maven
fi
mvn -q dependency:copy-dependencies -DoutputDirectory=lib
