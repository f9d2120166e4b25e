//! ifconfig, route, netstat, arp, ping, if_up, nicinfo, sloginfo, usb, mount, umount.
