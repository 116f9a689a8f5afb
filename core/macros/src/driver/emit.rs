//! The code that stands beside a driver's trait.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use super::{Kind, Method};

pub(super) fn all(kind: &Kind) -> TokenStream {
    let stripped = &kind.stripped;
    let table = table(kind);
    let shared = shared(kind);
    let client = client(kind);
    let marker = marker(kind);
    let schema = schema(kind);
    quote!(#stripped #table #shared #client #marker #schema)
}

impl Kind {
    /// `GraphKind`: apart from the data of a kind, which has types called `Volume` and `Exec`.
    fn marker(&self) -> Ident {
        let mut letters = self.name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        format_ident!("{}Kind", first.into_iter().chain(letters).collect::<String>())
    }
}

impl Method {
    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The method's signature, for an impl.
    fn signature(&self) -> TokenStream {
        let (ident, request, reply) = (&self.ident, &self.request, &self.reply);
        quote! {
            fn #ident(
                &self,
                cx: &::longshore_core::context::Context,
                request: #request,
            ) -> ::longshore_core::error::Result<#reply>
        }
    }
}

fn table(kind: &Kind) -> TokenStream {
    let vis = &kind.stripped.vis;
    let (name, version) = (&kind.name, kind.version);
    let rows = kind.methods.iter().map(|method| {
        let name = method.name();
        let (class, lock) = (format_ident!("{}", method.class.0), format_ident!("{}", method.lock.0));
        let (changes, since) = (method.changes, method.since);
        let capability = match &method.capability {
            Some(capability) => quote!(::core::option::Option::Some(#capability)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            ::longshore_core::wire::Method {
                name: #name,
                class: ::longshore_core::wire::Class::#class,
                lock: ::longshore_core::wire::Lock::#lock,
                changes: #changes,
                since: #since,
                capability: #capability,
            }
        }
    });
    quote! {
        /// The name of this kind of driver.
        #vis const KIND: &str = #name;
        /// The interface version that this build speaks.
        #vis const VERSION: u16 = #version;
        /// The methods of this kind, in the order of the trait.
        #vis const METHODS: &[::longshore_core::wire::Method] = &[#(#rows),*];
    }
}

/// The trait for `Arc<T>`, so that a driver can be shared by those who hold it as one.
fn shared(kind: &Kind) -> TokenStream {
    let ident = &kind.stripped.ident;
    let methods = kind.methods.iter().map(|method| {
        let (signature, name) = (method.signature(), &method.ident);
        quote!(#signature { (**self).#name(cx, request) })
    });
    quote! {
        impl<T: #ident + ?::core::marker::Sized> #ident for ::std::sync::Arc<T> {
            #(#methods)*
        }
    }
}

fn client(kind: &Kind) -> TokenStream {
    let (vis, ident) = (&kind.stripped.vis, &kind.stripped.ident);
    let methods = kind.methods.iter().enumerate().map(|(row, method)| {
        let signature = method.signature();
        quote! {
            #signature {
                let method = &METHODS[#row];
                ::longshore_core::schema::Data::since(&request).check(KIND, method, self.interface)?;
                ::longshore_core::wire::client_call(&self.channel, self.instance, method, cx, &request)
            }
        }
    });
    let channel = quote!(::longshore_core::wire::Channel);
    quote! {
        /// The host's side of one instance of a driver, over any transport. It is itself a driver of
        /// this kind, and asks for nothing that the other side does not speak.
        #vis struct Client<C> {
            channel: C,
            instance: u64,
            interface: u16,
        }

        impl<C: #channel> Client<C> {
            /// The client of the instance that an `open` over `channel` answered.
            #vis fn new(channel: C, opened: &::longshore_core::driver::Opened) -> Self {
                Self {
                    channel,
                    instance: opened.instance,
                    interface: opened.interface,
                }
            }

            /// The way to the driver.
            #vis fn channel(&self) -> &C {
                &self.channel
            }

            /// The number of the instance.
            #vis fn instance(&self) -> u64 {
                self.instance
            }

            /// The interface version that both sides speak.
            #vis fn interface(&self) -> u16 {
                self.interface
            }
        }

        impl<C> ::core::fmt::Debug for Client<C> {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                formatter
                    .debug_struct("Client")
                    .field("kind", &KIND)
                    .field("instance", &self.instance)
                    .field("interface", &self.interface)
                    .finish_non_exhaustive()
            }
        }

        impl<C: #channel> #ident for Client<C> {
            #(#methods)*
        }
    }
}

/// The marker of the kind: how a service reaches a driver by a method's name.
fn marker(kind: &Kind) -> TokenStream {
    let (vis, ident, marker) = (&kind.stripped.vis, &kind.stripped.ident, kind.marker());
    let doc = format!(
        "The kind `{}`: how a service reaches a driver by a method's name.",
        kind.name
    );
    let arms = kind.methods.iter().enumerate().map(|(row, method)| {
        let (name, function, request) = (method.name(), &method.ident, &method.request);
        quote! {
            #name => {
                let request: #request = ::longshore_core::wire::decode(body)?;
                let reply = #ident::#function(driver, cx, request)?;
                ::longshore_core::schema::Data::since(&reply).check(KIND, &METHODS[#row], cx.interface())?;
                ::longshore_core::wire::encode(&reply)
            }
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #vis struct #marker;

        impl<D: #ident + 'static> ::longshore_core::driver::Kind<D> for #marker {
            const KIND: &'static str = KIND;
            const VERSION: u16 = VERSION;

            fn methods() -> &'static [::longshore_core::wire::Method] {
                METHODS
            }

            fn dispatch(
                driver: &D,
                cx: &::longshore_core::context::Context,
                method: &str,
                body: &[u8],
            ) -> ::longshore_core::error::Result<::std::vec::Vec<u8>> {
                match method {
                    #(#arms)*
                    other => ::core::result::Result::Err(::longshore_core::error::Error::unsupported(
                        ::std::format!("{KIND} {VERSION} has no method {other:?}"),
                    )),
                }
            }
        }
    }
}

fn schema(kind: &Kind) -> TokenStream {
    let vis = &kind.stripped.vis;
    let methods = kind.methods.iter().enumerate().map(|(row, method)| {
        let (request, reply) = (&method.request, &method.reply);
        quote!(schema.method::<#request, #reply>(&METHODS[#row]);)
    });
    quote! {
        /// The description of this kind that its lock file holds.
        #vis fn schema() -> ::longshore_core::schema::Schema {
            let mut schema = ::longshore_core::schema::Schema::new(KIND, VERSION);
            #(#methods)*
            schema
        }
    }
}
