import { runNode } from '../../gpu-node/run.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { FakeBackend } from './fake-backend.ts'

/** A node whose device is lost in its first decode, and whose model then never closes. */
const backend = new FakeBackend()
backend.beforeCall = ({ type }) => {
  if (type === 'decode') throw new Error('CUDA failure 719: unspecified launch failure ; GPU=0')
}
backend.close = () => new Promise(() => {})
await runNode(process.argv.slice(2), process.env, {
  openModel: async () => ({ slug: BackboneSlug.parse('fake'), backend }),
})
