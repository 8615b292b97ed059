//! The tables, as the migrations make them.

diesel::table! {
    users (id) {
        id -> Text,
        email -> Text,
        username -> Nullable<Text>,
        username_key -> Nullable<Text>,
        name -> Nullable<Text>,
        password_hash -> Text,
        roles -> Text,
        email_verified -> Bool,
        disabled -> Bool,
        created_at -> BigInt,
        updated_at -> BigInt,
        version -> BigInt,
        authorization_version -> BigInt,
        search_text -> Text,
    }
}

diesel::table! {
    outbox (seq) {
        seq -> BigInt,
        user_id -> Text,
        payload -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    audit_outbox (seq) {
        seq -> BigInt,
        payload -> Text,
        created_at -> BigInt,
    }
}

// The lines of an import on their way into `users`: a temporary table, on PostgreSQL alone.
diesel::table! {
    users_import (line) {
        line -> BigInt,
        id -> Text,
        email -> Text,
        username -> Nullable<Text>,
        username_key -> Nullable<Text>,
        name -> Nullable<Text>,
        password_hash -> Text,
        roles -> Text,
        email_verified -> Bool,
        disabled -> Bool,
        created_at -> BigInt,
        updated_at -> BigInt,
        version -> BigInt,
        authorization_version -> BigInt,
        search_text -> Text,
    }
}
