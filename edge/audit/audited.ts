import type { Context, MiddlewareHandler } from 'hono'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import { unwrap } from '../directory/outcome.ts'
import { actorName } from '../http/actor.ts'
import { pathParameters } from '../http/request-parts.ts'
import type { AdminApp } from '../request-context.ts'
import { type AuditTarget, writtenTarget } from './audit-target.ts'

/** An action's name, and the values that its query adds to its target. */
export type AuditedAction =
  | string
  | { readonly action: string; readonly asked: (c: Pick<Context<AdminApp>, 'req'>) => AuditTarget }

/**
 * Writes every action into the audit log before it begins and when it has ended, also one that failed. An
 * action that cannot be written down is not done. A path that names nothing is not written down: its text, a key
 * perhaps, would stay in the log.
 */
export const audited = (audit: AuditedAction): MiddlewareHandler<AdminApp> => {
  const { action, asked } = typeof audit === 'string' ? { action: audit, asked: () => ({}) } : audit
  return async (c, next) => {
    const { audit, feed } = c.get('platform')
    const log = audit()
    const target: AuditTarget = { ...pathParameters(c), ...asked(c) }
    c.set('auditTarget', target)
    const begun = await log
      .begin({
        action,
        actor: actorName(c.get('actor')),
        requestId: c.get('requestId'),
        target: writtenTarget(target),
        tenant: c.get('tenant') ?? null,
      })
      .catch((cause: unknown) => {
        throw new QuartetError(
          'control_unavailable',
          'the audit log cannot be written, so nothing was done; retry',
          {
            cause,
          },
        )
      })
    const id = unwrap(begun)
    c.set('isActionBegun', true)
    const act = async () => {
      await next()
      // The next request of this isolate sees what it changed.
      feed.expire()
      const outcome = c.error === undefined ? 'ok' : toQuartetError(c.error).code
      const end = () =>
        c
          .get('platform')
          .audit()
          .end(id, { outcome, target: writtenTarget(target) })
      await end().catch(() => c.executionCtx.waitUntil(repeat(end)))
    }
    const acted = act()
    // Goes on when the client is gone: without a waiter the runtime would end it.
    c.executionCtx.waitUntil(acted.catch(() => undefined))
    await acted
  }
}

const attempts = 5

/** The action stands as `unknown` in the log until one of these succeeds. */
async function repeat(end: () => Promise<void>): Promise<void> {
  for (let attempt = 1; attempt <= attempts; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** attempt))
    const written = await end().then(
      () => true,
      () => false,
    )
    if (written) return
  }
}
