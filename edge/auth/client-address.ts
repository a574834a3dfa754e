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
 * list (`x-forwarded-for`) the last entry is the proxy's own. Any other header may be the client's invention.
 */
export function clientAddressOf(header: string | undefined): (request: Request) => ClientAddress {
  return (request) => {
    const name = header || (request.cf === undefined ? undefined : 'cf-connecting-ip')
    const address = name === undefined ? '' : (request.headers.get(name) ?? '').split(',').at(-1)?.trim()
    return address ? { address, isShared: false } : shared
  }
}
