//! nginx as the tests run it: two workers, all its files in the lab's directory.

use crate::Lab;

/// Writes `nginx.conf` with a server that listens as said (`listen ...; listen ...;`) and has the lab's directory as its files; returns
/// the command line.
pub fn configure(lab: &Lab, listen: &str) -> String {
    let w = lab.work().display().to_string();
    let conf = format!(
        "user root; worker_processes 2; pid {w}/nginx.pid; error_log {w}/error.log; daemon off;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {w}; proxy_temp_path {w}; fastcgi_temp_path {w};\n\
         uwsgi_temp_path {w}; scgi_temp_path {w};\n\
         server {{ {listen} root {w}; sendfile on; }} }}\n"
    );
    std::fs::write(lab.work().join("nginx.conf"), conf).expect("write nginx.conf");
    format!("nginx -c {w}/nginx.conf")
}
