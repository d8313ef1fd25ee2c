//! A server with a page, from its start to Ctrl-C.

use std::error::Error;

use super::args::NetArgs;
use super::net::{App, Commands, Handle, Net};
use super::server::{Reply, Request, Web};

/// All that it has bound.
pub(crate) struct Host<C> {
    /// Where connections live.
    pub(crate) net: Net,
    commands: Commands<C>,
    handle: Handle<C>,
    web: Web,
}

impl<C: Send + 'static> Host<C> {
    /// Begins the log, binds all sockets, and has Ctrl-C end [`run`](Self::run).
    pub(crate) fn bind(args: &NetArgs) -> Result<Self, Box<dyn Error>> {
        args.start_log();
        let (net, handle, commands) = Net::bind(args)?;
        let web = Web::bind(args)?;
        let stop = handle.clone();
        ctrlc::set_handler(move || stop.stop())?;
        Ok(Host { net, commands, handle, web })
    }

    /// Says where it is to be found, has requests answered by `answer`, and runs `app` until Ctrl-C, or until a
    /// socket breaks.
    pub(crate) fn run<R: Into<Reply>>(
        self,
        app: &mut impl App<Command = C>,
        answer: impl Fn(&Request, &Handle<C>) -> R + Send + Sync + 'static,
    ) -> Result<(), Box<dyn Error>> {
        let Host { net, commands, handle, web } = self;
        for local in net.locals() {
            println!("udp  {local}");
        }
        for listener in net.listeners() {
            println!("tcp  {listener}");
        }
        println!("open {}", web.url()?);
        web.serve(move |request| answer(request, &handle));
        let end = net.run(app, &commands);
        println!("stopped");
        Ok(end?)
    }
}
