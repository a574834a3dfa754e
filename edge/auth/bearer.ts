/** The token of an `Authorization: Bearer` header (RFC 6750), if there is one. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
}
