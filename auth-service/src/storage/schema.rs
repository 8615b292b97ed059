//! The tables of auth-service.
#![allow(missing_docs, reason = "the migrations describe the tables")]

diesel::table! {
    subjects (user_id) {
        user_id -> Text,
        authorization_version -> BigInt,
        roles -> Text,
        disabled -> Bool,
        deleted -> Bool,
        told_version -> BigInt,
    }
}

diesel::table! {
    sessions (id) {
        id -> Text,
        user_id -> Text,
        roles -> Text,
        authorization_version -> BigInt,
        scope_limit -> Nullable<Text>,
        amr -> Text,
        address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        created_at -> BigInt,
        expires_at -> BigInt,
        last_used_at -> BigInt,
        rotated_at -> BigInt,
        current_number -> BigInt,
        previous_number -> BigInt,
        ended_at -> Nullable<BigInt>,
        end_reason -> Nullable<Text>,
        client_id -> Nullable<Text>,
    }
}

diesel::table! {
    feed_state (id) {
        id -> BigInt,
        epoch -> Text,
        seq -> BigInt,
        longest_ttl_seconds -> BigInt,
    }
}

diesel::table! {
    revocations (seq) {
        seq -> BigInt,
        kind -> Text,
        key -> Text,
        number -> Nullable<BigInt>,
        until -> BigInt,
    }
}

diesel::table! {
    verifiers (id) {
        id -> Text,
        kids -> Text,
        seen_at -> BigInt,
    }
}

diesel::table! {
    clients (id) {
        id -> Text,
        name -> Text,
        secret_hash -> Text,
        scope -> Text,
        version -> BigInt,
        created_at -> BigInt,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    audit (id) {
        id -> Text,
        at -> BigInt,
        action -> Text,
        outcome -> Text,
        actor_type -> Nullable<Text>,
        actor -> Nullable<Text>,
        subject -> Nullable<Text>,
        session -> Nullable<Text>,
        client_id -> Nullable<Text>,
        address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        request_id -> Nullable<Text>,
        details -> Nullable<Text>,
    }
}
