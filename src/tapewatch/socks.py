"""REST through SOCKS proxies, which the HTTP library does not speak."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from python_socks import ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio import Proxy


class Connector(aiohttp.TCPConnector):
    """Connections for `aiohttp.ClientSession`; a request whose `proxy` is `socks…://` goes through that.

    Names of hosts are looked up by the proxy. The hook is not part of the library's public interface: a test through a
    real proxy says when it moves.
    """

    async def _create_proxy_connection(self, req: ClientRequest, traces: Any, timeout: Any) -> tuple[Any, Any]:  # noqa: ASYNC109
        if req.proxy is None or not req.proxy.scheme.startswith("socks"):
            return await super()._create_proxy_connection(req, traces, timeout)
        url = req.proxy
        if req.proxy_auth is not None:
            url = url.with_user(req.proxy_auth.login).with_password(req.proxy_auth.password)
        context = self._get_ssl_context(req)
        try:
            host, port = req.url.raw_host or "", req.url.port or 0
            dialled = await Proxy.from_url(str(url)).connect(host, port, timeout=timeout.sock_connect)
            try:
                return await asyncio.get_running_loop().create_connection(
                    self._factory, ssl=context, sock=dialled, server_hostname=host if context is not None else None
                )
            except BaseException:
                dialled.close()
                raise
        except (OSError, ProxyError, ProxyTimeoutError, TimeoutError) as error:
            reason = error if isinstance(error, OSError) else OSError(None, str(error) or type(error).__name__)
            raise aiohttp.ClientProxyConnectionError(req.connection_key, reason) from error
