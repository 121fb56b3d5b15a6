use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{brake::Brake, test_app::TestApp};

/// Returns the response to a `GET`.
async fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn the_browser_is_sent_to_a_page_without_the_code() {
    let (app, listener) = (TestApp::new(Brake::default()), LoopbackCallback::listen(0).await.unwrap());
    let (address, runtime) = (listener.address, app.app.runtime.clone());
    let finish = tokio::spawn(async move { listener.finish(&runtime).await });
    for query in ["?code=s3cret&state=s3cret", "?error=access_denied&state=s3cret", ""] {
        let sent = get(address, &format!("{CALLBACK}{query}")).await;
        assert!(sent.starts_with("HTTP/1.1 303 ") && !sent.contains("s3cret"), "{sent}");
        let location = sent.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
        let target = CALLBACK.replace("callback", location);
        let page = get(address, &target).await;
        assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("go back to the terminal"), "{target}: {page}");
        assert!(page.contains("no-referrer") && page.contains("no-store"), "{page}");
    }
    assert!(!finish.is_finished(), "none of these belongs to a sign-in");
    finish.abort();
}
