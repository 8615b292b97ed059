#!/bin/sh
# The Secrets that `production` refers to, as SealedSecrets (bitnami.com/v1alpha1) that may be committed: only the
# controller in the cluster can open them. Takes a directory with the values and writes sealed-secrets.yaml, which goes
# into `resources` of overlays/production. Needs kubectl and kubeseal.
#
#   examples/sealed-secrets.sh DIRECTORY > overlays/production/sealed-secrets.yaml
set -eu
cd "$1"

# seal SECRET KEY=FILE...
seal() {
    name=$1
    shift
    for pair in "$@"; do set -- "$@" "--from-file=$pair" && shift; done
    echo ---
    kubectl create secret generic "$name" --namespace=signet "$@" --dry-run=client --output=yaml |
        kubeseal --format=yaml
}

seal signet-keys keys.json=keys.json
seal auth-service-database url=auth-database-url
seal auth-service-secrets refresh-secret=refresh-secret
seal user-service-database url=user-database-url
seal user-service-secrets passwords-pepper=passwords-pepper admin-password=admin-password
seal resource-service-database url=resource-database-url
