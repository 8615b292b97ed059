//! Which tokens may enter: a rule over verified claims, named by a type.

use crate::claims::Claims;

/// Decides which tokens may enter. Implement it for a unit type and ask for it by that type.
///
/// ```
/// use shared_claims::Claims;
/// use shared_claims::Access;
///
/// /// A user who holds the role `auditor`.
/// pub struct Auditor;
///
/// impl Access for Auditor {
///     const DENIED: &'static str = "this is for auditors";
///
///     fn allows(claims: &Claims) -> bool {
///         !claims.is_client() && claims.roles.iter().any(|role| role == "auditor")
///     }
/// }
/// ```
pub trait Access: 'static {
    /// The scope that is asked for, where it is one scope: a refusal names it to the client.
    const SCOPE: Option<&'static str> = None;

    /// What a refusal says.
    const DENIED: &'static str = "the token does not allow this";

    /// Whether these claims, which have been verified, may enter.
    fn allows(claims: &Claims) -> bool;
}

/// Declares unit types that let in tokens which carry a scope.
///
/// ```
/// shared_claims::scope! {
///     /// May read persons.
///     pub PersonsRead = "persons:read";
///     /// May change persons.
///     pub PersonsWrite = "persons:write";
/// }
/// ```
#[macro_export]
macro_rules! scope {
    ($($(#[$attribute:meta])* $visibility:vis $name:ident = $scope:literal);+ $(;)?) => {$(
        #[doc = concat!("Lets in tokens with the scope `", $scope, "`.")]
        ///
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        $visibility struct $name;

        impl $crate::Access for $name {
            const SCOPE: ::core::option::Option<&'static str> = ::core::option::Option::Some($scope);
            const DENIED: &'static str = concat!("this needs the scope ", $scope);

            fn allows(claims: &$crate::Claims) -> bool {
                claims.has_scope($scope)
            }
        }
    )+};
}

/// Any valid token.
#[derive(Clone, Copy, Debug)]
pub struct AnyToken;

impl Access for AnyToken {
    fn allows(_: &Claims) -> bool {
        true
    }
}

/// Any user's token; a client's or a service's own is refused.
#[derive(Clone, Copy, Debug)]
pub struct AnyUser;

impl Access for AnyUser {
    const DENIED: &'static str = "this needs a user's token, and this one is a client's";

    fn allows(claims: &Claims) -> bool {
        !claims.is_client()
    }
}
