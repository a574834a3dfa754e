import type { Bindings } from '../../edge/platform.ts'

declare global {
  namespace Cloudflare {
    interface Env extends Bindings {}
    interface GlobalProps {
      mainModule: typeof import('../../edge/index.ts')
    }
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    stubNodes: { id: string; url: string }[]
    otlpReceiver: string
    /** How the fuzzer runs, by environment. */
    fuzz: { seed: string | undefined; seconds: string | undefined }
  }
}
