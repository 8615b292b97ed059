//! The tables of auth-service.
#![allow(missing_docs, reason = "the migrations describe the tables")]

diesel::table! {
    subjects (user_id) {
        user_id -> Text,
        authorization_version -> BigInt,
        roles -> Text,
        disabled -> Bool,
        deleted -> Bool,
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
    }
}
