import { QuartetError } from '../../shared/errors.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { maxAdapterBytes, type PutAdapterResponse } from '../../shared/wire.ts'
import { type Authorization, requireClaim } from './authorization.ts'
import type { Serving } from './serving.ts'

/** `PUT /v1/adapters/{digest}`: makes an adapter resident for the tenant that the token names. */
export async function putAdapter(
  request: Request,
  {
    digest: path,
    authorization,
    serving,
  }: { digest: string; authorization: Authorization; serving: Serving },
): Promise<PutAdapterResponse> {
  const leave = serving.model?.engine.arrivals.enter()
  try {
    const { body, claims } = await authorization.admit(request, {
      action: 'put-adapter',
      maxBytes: maxAdapterBytes,
    })
    const digest = AdapterDigest.safeParse(path)
    if (!digest.success)
      throw new QuartetError(
        'invalid_request',
        `the path names no adapter: ${digest.error.issues[0]?.message}`,
        {
          param: 'digest',
        },
      )
    requireClaim(digest.data === claims.adapter, 'adapter')
    const { adapters } = serving.open()
    adapters.put({ tenant: claims.sub, digest: digest.data, file: body.bytes, sha256: body.sha256 })
    return { digest: digest.data, bytes: body.bytes.length }
  } finally {
    leave?.()
  }
}
