//! From a trait to what is generated, with the refusals on the way.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, GenericArgument, ItemTrait, LitInt, LitStr, Pat, PathArguments, Result, ReturnType, Signature,
    TraitItem, TraitItemFn, Type, TypeParamBound,
};

use super::{Kind, Method, Word};
use crate::attributes::{Since, is_documented};

/// Most methods of a kind: a trait that needs more is two traits.
const MOST_METHODS: usize = 14;

pub(super) fn kind(arguments: TokenStream, item: TokenStream) -> Result<Kind> {
    let (name, version) = kind_arguments(arguments)?;
    let Ok(mut stripped) = syn::parse2::<ItemTrait>(item.clone()) else {
        return Err(Error::new_spanned(item, "`driver` stands on a trait"));
    };
    check_trait(&stripped)?;
    let mut methods = Vec::new();
    for item in &mut stripped.items {
        let TraitItem::Fn(function) = item else {
            return Err(Error::new_spanned(
                item,
                "a driver's trait holds methods and nothing else",
            ));
        };
        methods.push(method(function, version)?);
    }
    if methods.len() > MOST_METHODS {
        return Err(Error::new_spanned(
            &stripped.ident,
            format!(
                "a kind of driver has at most {MOST_METHODS} methods, this one has {}",
                methods.len()
            ),
        ));
    }
    Ok(Kind {
        name,
        version,
        stripped,
        methods,
    })
}

fn kind_arguments(arguments: TokenStream) -> Result<(String, u16)> {
    let (mut kind, mut version) = (None, None);
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("kind") {
            let literal: LitStr = meta.value()?.parse()?;
            let name = literal.value();
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
                return Err(Error::new_spanned(literal, "a kind is one word of [a-z]"));
            }
            kind = Some(name);
        } else if meta.path.is_ident("version") {
            version = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
        } else {
            return Err(meta.error("`driver` knows `kind` and `version`"));
        }
        Ok(())
    });
    parser.parse2(arguments)?;
    match (kind, version) {
        (Some(kind), Some(version)) => Ok((kind, version)),
        _ => Err(Error::new(
            proc_macro2::Span::call_site(),
            "`driver` needs both: `#[driver(kind = \"graph\", version = 0)]`",
        )),
    }
}

fn check_trait(item: &ItemTrait) -> Result<()> {
    if let Some(word) = &item.unsafety {
        return Err(Error::new_spanned(word, "a driver's trait is safe to implement"));
    }
    if let Some(lifetime) = item.generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "a driver's trait has no lifetimes: requests own their data",
        ));
    }
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &item.ident,
            "a driver's trait has no generics: one method table serves all drivers of the kind",
        ));
    }
    let (mut send, mut sync) = (false, false);
    for bound in &item.supertraits {
        match bound {
            TypeParamBound::Trait(bound) if bound.path.is_ident("Send") => send = true,
            TypeParamBound::Trait(bound) if bound.path.is_ident("Sync") => sync = true,
            other => {
                return Err(Error::new_spanned(
                    other,
                    "a driver's trait has no supertraits beyond `Send + Sync`",
                ));
            }
        }
    }
    if send && sync {
        Ok(())
    } else {
        Err(Error::new_spanned(
            &item.ident,
            "a driver's trait needs `: Send + Sync`, for it is called from any thread",
        ))
    }
}

fn method(function: &mut TraitItemFn, version: u16) -> Result<Method> {
    check_signature(&function.sig)?;
    let request = request(&function.sig)?;
    let reply = reply(&function.sig)?;
    if !is_documented(&function.attrs) {
        return Err(Error::new_spanned(
            &function.sig.ident,
            "a method says in a doc comment what holds before, after and again",
        ));
    }
    let since = Since::among(&function.attrs)?;
    let call = call(function)?;
    check_body(function, since, &call, version)?;
    function
        .attrs
        .retain(|attribute| !attribute.path().is_ident("call") && !attribute.path().is_ident("since"));
    Ok(Method {
        ident: function.sig.ident.clone(),
        class: call.class,
        lock: call.lock,
        changes: call.changes,
        capability: call.capability,
        since: since.version,
        request,
        reply,
    })
}

fn check_signature(signature: &Signature) -> Result<()> {
    if let Some(word) = &signature.asyncness {
        return Err(Error::new_spanned(
            word,
            "a driver's methods are synchronous: the host gives each call a thread",
        ));
    }
    if let Some(word) = &signature.unsafety {
        return Err(Error::new_spanned(word, "a driver's methods are safe to call"));
    }
    if let Some(word) = &signature.constness {
        return Err(Error::new_spanned(word, "a driver's methods are not const"));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(
            abi,
            "a driver's methods have Rust's own calling convention",
        ));
    }
    if let Some(lifetime) = signature.generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "a driver's methods have no lifetimes: requests own their data",
        ));
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &signature.ident,
            "a driver's methods have no generics: each request is one concrete type",
        ));
    }
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) if is_shared_self(receiver) => Ok(()),
        Some(other) => Err(Error::new_spanned(
            other,
            "a driver's methods take `&self`: they run beside each other",
        )),
        None => Err(Error::new_spanned(
            &signature.ident,
            "a driver's methods take `&self`: they run beside each other",
        )),
    }
}

fn is_shared_self(receiver: &syn::Receiver) -> bool {
    receiver.colon_token.is_none() && receiver.mutability.is_none() && matches!(&receiver.reference, Some((_, None)))
}

const PARAMETERS: &str = "a driver's methods take exactly `&self, cx: &Context, request: T`";

fn request(signature: &Signature) -> Result<Type> {
    let parameters: Vec<&FnArg> = signature.inputs.iter().skip(1).collect();
    let [FnArg::Typed(context), FnArg::Typed(request)] = parameters.as_slice() else {
        return Err(Error::new(signature.paren_token.span.join(), PARAMETERS));
    };
    if !is_named(&context.pat, "cx") || !is_context(&context.ty) {
        return Err(Error::new_spanned(context, PARAMETERS));
    }
    if !is_named(&request.pat, "request") || !matches!(&*request.ty, Type::Path(_)) {
        return Err(Error::new_spanned(request, PARAMETERS));
    }
    Ok((*request.ty).clone())
}

fn is_named(pattern: &Pat, name: &str) -> bool {
    matches!(pattern, Pat::Ident(pattern) if pattern.ident == name && pattern.by_ref.is_none() && pattern.mutability.is_none())
}

fn is_context(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else {
        return false;
    };
    reference.mutability.is_none()
        && reference.lifetime.is_none()
        && matches!(&*reference.elem, Type::Path(path)
            if path.path.segments.last().is_some_and(|last| last.ident == "Context" && last.arguments.is_none()))
}

fn reply(signature: &Signature) -> Result<Type> {
    let refused = || {
        Error::new(
            signature.output.span(),
            "a driver's methods return `Result<U>` with one type",
        )
    };
    let ReturnType::Type(_, ty) = &signature.output else {
        return Err(Error::new_spanned(
            &signature.ident,
            "a driver's methods return `Result<U>` with one type",
        ));
    };
    let Type::Path(path) = &**ty else {
        return Err(refused());
    };
    let Some(last) = path.path.segments.last().filter(|last| last.ident == "Result") else {
        return Err(refused());
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Err(refused());
    };
    let mut arguments = arguments.args.iter();
    match (arguments.next(), arguments.next()) {
        (Some(GenericArgument::Type(reply @ Type::Path(_))), None) => Ok(reply.clone()),
        _ => Err(refused()),
    }
}

/// What `#[call]` says.
struct Call {
    class: Word,
    lock: Word,
    changes: bool,
    capability: Option<String>,
    default: bool,
}

const CLASSES: [(&str, Word); 3] = [
    ("quick", Word("Quick")),
    ("normal", Word("Normal")),
    ("long", Word("Long")),
];
const LOCKS: [(&str, Word); 3] = [
    ("any", Word("Any")),
    ("object", Word("Object")),
    ("alone", Word("Alone")),
];

fn call(function: &TraitItemFn) -> Result<Call> {
    let mut found = function
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("call"));
    let Some(attribute) = found.next() else {
        return Err(Error::new_spanned(
            &function.sig.ident,
            "a method says how it is called: `#[call(class = \"normal\", lock = \"object\")]`",
        ));
    };
    if let Some(second) = found.next() {
        return Err(Error::new_spanned(second, "`call` stands once"));
    }
    let (mut class, mut lock, mut changes, mut capability, mut default) = (None, None, false, None, false);
    attribute.parse_nested_meta(|meta| {
        if meta.path.is_ident("class") {
            class = Some(word(
                &meta.value()?.parse()?,
                &CLASSES,
                "a class is `quick`, `normal` or `long`",
            )?);
        } else if meta.path.is_ident("lock") {
            lock = Some(word(
                &meta.value()?.parse()?,
                &LOCKS,
                "a lock is `any`, `object` or `alone`",
            )?);
        } else if meta.path.is_ident("capability") {
            capability = Some(meta.value()?.parse::<LitStr>()?.value());
        } else if meta.path.is_ident("changes") {
            changes = true;
        } else if meta.path.is_ident("default") {
            default = true;
        } else {
            return Err(meta.error("`call` knows `class`, `lock`, `changes`, `capability` and `default`"));
        }
        Ok(())
    })?;
    let (Some(class), Some(lock)) = (class, lock) else {
        return Err(Error::new_spanned(attribute, "`call` needs both `class` and `lock`"));
    };
    if changes && lock.0 == "Any" {
        return Err(Error::new_spanned(
            attribute,
            "a call that changes something has the lock `object` or `alone`",
        ));
    }
    Ok(Call {
        class,
        lock,
        changes,
        capability,
        default,
    })
}

fn word(literal: &LitStr, known: &[(&str, Word)], refusal: &str) -> Result<Word> {
    known
        .iter()
        .find(|(name, _)| *name == literal.value())
        .map(|(_, word)| *word)
        .ok_or_else(|| Error::new_spanned(literal, refusal))
}

/// A body is what an older driver answers, so it and the reason for it come together.
fn check_body(function: &TraitItemFn, since: Since, call: &Call, version: u16) -> Result<()> {
    let ident = &function.sig.ident;
    let refuse = |message: String| Err(Error::new_spanned(ident, message));
    if since.advisory {
        return refuse("a method cannot be advisory: it is asked for or not".to_owned());
    }
    if since.version > version {
        return refuse(format!(
            "this method is said to come with version {}, but the kind has version {version}",
            since.version
        ));
    }
    match (&function.default, since.version, &call.capability, call.default) {
        (None, 1.., _, _) => {
            refuse("a method with `since` needs a body: drivers written before it have none".to_owned())
        }
        (None, _, Some(_), _) => {
            refuse("a method with `capability` needs a body: drivers without it write nothing".to_owned())
        }
        (None, _, None, true) => refuse("`default` says that the method has a body, and it has none".to_owned()),
        (Some(_), 0, None, false) => refuse("a body needs a reason: `since`, `capability` or `default`".to_owned()),
        _ => Ok(()),
    }
}
