/** The address of a request's client, if a trusted proxy tells it. */
export interface ClientAddress {
  readonly address: string
  /** No trusted proxy names the client: all such clients count as one address. */
  readonly isShared: boolean
}

const shared: ClientAddress = { address: 'unknown', isShared: true }

/**
 * Reads a client's address. Cloudflare says it (`cf-connecting-ip`) and overwrites what the client says of itself; that
 * Cloudflare is in front shows in `request.cf`. Behind another proxy `header` names the one that the proxy writes. In a
 * list (`x-forwarded-for`) the last entry is the proxy's own; some proxies write a port with it. Any other header may be the client's invention.
 */
export function clientAddressOf(header: string | undefined): (request: Request) => ClientAddress {
  return (request) => {
    const name = header || (request.cf === undefined ? undefined : 'cf-connecting-ip')
    const address = name === undefined ? '' : (request.headers.get(name) ?? '').split(',').at(-1)?.trim()
    return address ? { address: withoutPort(address), isShared: false } : shared
  }
}

/** A client has one address, whatever port it calls from and whether its IPv4 address is written as an IPv6 one (RFC 4291, 2.5.5.2). */
function withoutPort(written: string): string {
  const address = /^\[([^\]]*)\]/.exec(written)?.[1] ?? written
  return /^(?:::ffff:)?(\d{1,3}(?:\.\d{1,3}){3})(?::\d+)?$/i.exec(address)?.[1] ?? address
}
