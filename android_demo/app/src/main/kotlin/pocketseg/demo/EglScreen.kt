package pocketseg.demo

import android.graphics.SurfaceTexture
import android.opengl.EGL14
import android.opengl.EGLConfig
import android.opengl.EGLExt
import pocketseg.live.Graphics
import pocketseg.live.GraphicsError
import pocketseg.live.difference
import pocketseg.pixels.Size
import java.util.concurrent.Semaphore

/**
 * A view's surface. One engine at a time draws to it, and it lives until the last has let go of it: the view may be gone
 * before.
 */
class GlSurface(val texture: SurfaceTexture) {
    private val turn = Semaphore(1)
    @Volatile private var gone = false
    private var released = false

    /** Waits for the engine before. False when the view has gone. */
    fun take(): Boolean {
        turn.acquire()
        val there = !gone
        if (!there) give()
        return there
    }

    fun give() {
        turn.release()
        if (gone) release()
    }

    /** The view needs it no more. */
    fun abandon() {
        gone = true
        release()
    }

    /** Unless somebody has it, who then does this. */
    @Synchronized
    private fun release() {
        if (released || !turn.tryAcquire()) return
        released = true
        texture.release()
        turn.release()
    }
}

/** An OpenGL ES 3 context, current on the thread that makes it, and the [surface] it draws to. Throws [GraphicsError]. */
class EglScreen(private val surface: GlSurface) : GlScreen {
    private val display = EGL14.eglGetDisplay(EGL14.EGL_DEFAULT_DISPLAY)
    private var context = EGL14.EGL_NO_CONTEXT
    private var window = EGL14.EGL_NO_SURFACE
    private val asked = IntArray(1)

    init {
        if (!surface.take()) throw GraphicsError("the view has gone")
        try {
            val version = IntArray(2)
            check(EGL14.eglInitialize(display, version, 0, version, 1), "eglInitialize")
            val wanted = intArrayOf(
                EGL14.EGL_RENDERABLE_TYPE, EGLExt.EGL_OPENGL_ES3_BIT_KHR, EGL14.EGL_SURFACE_TYPE, EGL14.EGL_WINDOW_BIT,
                EGL14.EGL_RED_SIZE, 8, EGL14.EGL_GREEN_SIZE, 8, EGL14.EGL_BLUE_SIZE, 8, EGL14.EGL_ALPHA_SIZE, 8, EGL14.EGL_NONE,
            )
            val configs = arrayOfNulls<EGLConfig>(1)
            check(EGL14.eglChooseConfig(display, wanted, 0, configs, 0, 1, asked, 0) && asked[0] > 0, "OpenGL ES 3")
            val three = intArrayOf(EGL14.EGL_CONTEXT_CLIENT_VERSION, 3, EGL14.EGL_NONE)
            context = EGL14.eglCreateContext(display, configs[0], EGL14.EGL_NO_CONTEXT, three, 0)
            check(context != EGL14.EGL_NO_CONTEXT, "eglCreateContext")
            window = EGL14.eglCreateWindowSurface(display, configs[0], surface.texture, intArrayOf(EGL14.EGL_NONE), 0)
            check(window != null && window != EGL14.EGL_NO_SURFACE, "eglCreateWindowSurface")
            check(EGL14.eglMakeCurrent(display, window, window, context), "eglMakeCurrent")
        } catch (error: RuntimeException) {
            close()
            throw error
        }
    }

    private fun check(done: Boolean, what: String) {
        if (!done) throw GraphicsError("$what: EGL error 0x${Integer.toHexString(EGL14.eglGetError())}")
    }

    private fun side(which: Int): Int {
        EGL14.eglQuerySurface(display, window, which, asked, 0)
        return asked[0]
    }

    override val size get() = Size(side(EGL14.EGL_WIDTH), side(EGL14.EGL_HEIGHT))

    override fun swap() = check(EGL14.eglSwapBuffers(display, window), "eglSwapBuffers")

    override fun close() {
        EGL14.eglMakeCurrent(display, EGL14.EGL_NO_SURFACE, EGL14.EGL_NO_SURFACE, EGL14.EGL_NO_CONTEXT)
        if (window != EGL14.EGL_NO_SURFACE) EGL14.eglDestroySurface(display, window)
        if (context != EGL14.EGL_NO_CONTEXT) EGL14.eglDestroyContext(display, context)
        EGL14.eglReleaseThread()
        surface.give()
    }
}

/** Graphics on [surface] that draw what the CPU draws. [shader] gives the text of a file. Throws [GraphicsError]. */
fun openDrawing(surface: GlSurface, shader: (String) -> String): Graphics {
    val screen = EglScreen(surface)
    try {
        val drawing = GlDrawing(screen, shader)
        val far = difference(drawing)
        if (!(far <= FAR)) throw GraphicsError("it draws another picture, mean difference %.1f of 255".format(far))
        return drawing
    } catch (error: RuntimeException) {
        screen.close()
        throw error
    }
}

private const val FAR = 4.0
