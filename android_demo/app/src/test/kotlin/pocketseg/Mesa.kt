package pocketseg

import android.opengl.GLES20
import com.sun.jna.Native
import com.sun.jna.Pointer
import pocketseg.demo.GlDrawing
import pocketseg.demo.GlScreen
import pocketseg.pixels.Size
import java.io.File

/** EGL without a window, as Mesa gives it. */
private object Egl {
    init {
        Native.register(Egl::class.java, "EGL")
    }

    @JvmStatic external fun eglGetPlatformDisplay(platform: Int, native: Pointer?, attributes: Pointer?): Pointer?
    @JvmStatic external fun eglInitialize(display: Pointer, major: IntArray, minor: IntArray): Int
    @JvmStatic external fun eglBindAPI(api: Int): Int
    @JvmStatic external fun eglChooseConfig(display: Pointer, wanted: IntArray, configs: LongArray, room: Int, found: IntArray): Int
    @JvmStatic external fun eglCreateContext(display: Pointer, config: Pointer?, shared: Pointer?, attributes: IntArray): Pointer?
    @JvmStatic external fun eglMakeCurrent(display: Pointer, draw: Pointer?, read: Pointer?, context: Pointer?): Int
    @JvmStatic external fun eglDestroyContext(display: Pointer, context: Pointer): Int
    @JvmStatic external fun eglGetError(): Int
}

/** An OpenGL ES 3 context of this thread without a screen. [missing] says why there can be none. */
class Mesa : GlScreen {
    private val display: Pointer
    private val context: Pointer
    override val size = Size(1, 1)
    val name: String

    init {
        display = checkNotNull(Egl.eglGetPlatformDisplay(SURFACELESS, null, null)) { "no surfaceless display" }
        check(Egl.eglInitialize(display, IntArray(1), IntArray(1)) != 0 && Egl.eglBindAPI(OPENGL_ES) != 0) { "no EGL" }
        context = checkNotNull(Egl.eglCreateContext(display, null, null, intArrayOf(CLIENT_VERSION, 3, NONE))) { "no OpenGL ES 3" }
        check(Egl.eglMakeCurrent(display, null, null, context) != 0) { "no context without a surface" }
        name = GLES20.glGetString(RENDERER)!!
    }

    override fun swap() = Unit

    override fun close() {
        Egl.eglMakeCurrent(display, null, null, null)
        Egl.eglDestroyContext(display, context)
    }

    companion object {
        private const val SURFACELESS = 0x31DD
        private const val OPENGL_ES = 0x30A0
        private const val CLIENT_VERSION = 0x3098
        private const val NONE = 0x3038
        private const val RENDERER = 0x1F01
        private val shaders = listOf("../web_demo/shaders", "../../web_demo/shaders").map(::File).first { it.isDirectory }

        fun shader(name: String) = File(shaders, name).readText()

        /** Null where the tests of the shaders can run. */
        val missing: String? by lazy {
            try {
                Mesa().close()
                null
            } catch (error: LinkageError) {
                "no libEGL or libGLESv2 (apt-get install libegl1 libgles2): $error"
            } catch (error: IllegalStateException) {
                error.message
            }
        }

        /** A drawing in a context of its own. */
        fun <T> draw(action: (GlDrawing, Mesa) -> T): T {
            val mesa = Mesa()
            val drawing = GlDrawing(mesa, ::shader)
            try {
                return action(drawing, mesa)
            } finally {
                drawing.close()
            }
        }
    }
}
