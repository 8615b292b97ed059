//! The tables, and no more of them than queries name.

diesel::table! {
    persons (id) {
        id -> Text,
        name -> Text,
        email -> Nullable<Text>,
        age -> Nullable<Integer>,
        search_text -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        version -> BigInt,
    }
}

// PostgreSQL only, temporary: the batch of an import that is about to be merged.
diesel::table! {
    persons_import (id) {
        id -> Text,
        name -> Text,
        email -> Nullable<Text>,
        age -> Nullable<Integer>,
        search_text -> Text,
    }
}
