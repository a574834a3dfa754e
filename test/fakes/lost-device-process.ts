import { once } from 'node:events'
import { runNode } from '../../gpu-node/run.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { FakeBackend } from './fake-backend.ts'

/**
 * A node whose device is lost in its first decode, and whose model then never closes. With `LOST_WHILE_DRAINING` this decode waits
 * until the node drains.
 */
const backend = new FakeBackend()
const { LOST_WHILE_DRAINING } = process.env
const draining = LOST_WHILE_DRAINING === undefined ? undefined : once(process, 'SIGTERM')
backend.beforeCall = async ({ type }) => {
  if (type !== 'decode') return
  await draining
  throw new Error('CUDA failure 719: unspecified launch failure ; GPU=0')
}
backend.close = () => new Promise(() => {})
await runNode(process.argv.slice(2), process.env, {
  openModel: async () => ({ slug: BackboneSlug.parse('fake'), backend }),
})
