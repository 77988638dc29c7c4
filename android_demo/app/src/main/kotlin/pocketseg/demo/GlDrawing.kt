package pocketseg.demo

import android.opengl.GLES20
import android.opengl.GLES30
import pocketseg.live.Background
import pocketseg.live.Effect
import pocketseg.live.Graphics
import pocketseg.live.GraphicsError
import pocketseg.live.Lane
import pocketseg.live.Look
import pocketseg.live.Picture
import pocketseg.pixels.Box
import pocketseg.pixels.Size
import pocketseg.pixels.placement
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.exp
import kotlin.math.roundToInt

/** Where OpenGL draws to; its context is current on the thread as long as it is open. */
interface GlScreen {
    val size: Size

    fun swap()

    fun close()
}

/**
 * Moving pictures drawn by OpenGL ES 3 with the shaders of the browser's page (web_demo/shaders), whose text [shader]
 * gives. The steps are those of the page's renderer.ts. A texture has a picture's first row first, what is drawn its last.
 */
class GlDrawing(private val screen: GlScreen, private val shader: (String) -> String) : Graphics {
    private class Texture(val id: Int, val frame: Int, val size: Size)

    private class Program(val id: Int) {
        val places = HashMap<String, Int>()
    }

    private val textures = HashMap<String, Texture>()
    private val programs = HashMap<String, Program>()
    private val made = IntArray(1)
    private var bytes = ByteBuffer.allocateDirect(0)
    private var program = Program(0)
    private var units = 0
    private var background: Background? = null
    private var size = Size(1, 1)

    init {
        val known = GLES20.glGetString(GLES20.GL_EXTENSIONS).orEmpty()
        if ("GL_EXT_color_buffer_float" !in known && "GL_EXT_color_buffer_half_float" !in known) throw GraphicsError("no drawing to float textures")
        GLES20.glDisable(GLES20.GL_DITHER)
        GLES20.glPixelStorei(GLES20.GL_UNPACK_ALIGNMENT, 1)
        texture("none", Size(1, 1), GLES30.GL_RGBA8, GLES20.GL_NEAREST)
        texture("no classes", Size(1, 1), GLES30.GL_R8UI, GLES20.GL_NEAREST)
    }

    private val real = if ("GL_EXT_color_buffer_float" in GLES20.glGetString(GLES20.GL_EXTENSIONS)!!) GLES30.GL_RGBA32F else GLES30.GL_RGBA16F

    override fun take(picture: Picture, crop: Box) {
        size = Size(crop.width.roundToInt(), crop.height.roundToInt())
        val yuv = picture.yuv!!
        plane("luma", picture.y, Size(yuv.lumaStride, yuv.size.height))
        plane("u", picture.u, Size(yuv.chromaStride, yuv.chroma.height))
        plane("v", picture.v, Size(yuv.chromaStride, yuv.chroma.height))
        val at = placement(picture.size, picture.orientation, crop, size)
        pass("yuv", texture("picture", size, GLES30.GL_RGBA8, GLES20.GL_LINEAR)) {
            for (plane in PLANES) sample(plane, plane)
            pair("pixelStride", yuv.lumaPixelStride, yuv.chromaPixelStride)
            pair("right", at.xx.roundToInt(), at.yx.roundToInt())
            pair("down", at.xy.roundToInt(), at.yy.roundToInt())
            pair("start", at.x0.roundToInt(), at.y0.roundToInt())
            with(picture.colours) {
                pair("light", black, gain)
                pair("redBlue", redV, blueU)
                pair("green", greenU, greenV)
            }
        }
    }

    /** A plane with its padding; the last row may end before that. */
    private fun plane(name: String, values: ByteArray, size: Size) {
        room(size.pixels).put(values, 0, minOf(values.size, size.pixels))
        upload(texture(name, size, GLES30.GL_R8, GLES20.GL_NEAREST), GLES30.GL_RED, GLES20.GL_UNSIGNED_BYTE)
    }

    override fun sample(lane: Int, size: Size, pixels: IntArray) {
        pass("resize", texture("small $lane", size, GLES30.GL_RGBA8, GLES20.GL_LINEAR)) {
            sample("picture", "picture")
            pair("target", size.width.toFloat(), size.height.toFloat())
        }
        readBytes(size)
        for (i in 0 until size.pixels) pixels[i] = rgba(i) or (0xFF shl 24)
    }

    override fun draw(look: Look, background: Background?, lanes: Array<Lane>) {
        texture("drawn", size, GLES30.GL_RGBA8, GLES20.GL_NEAREST)
        if (lanes.isEmpty()) compose(0, size.width, NONE, "picture", null, 0, look)
        for ((i, lane) in lanes.withIndex()) lane(i, lane, size.width * i / lanes.size, size.width * (i + 1) / lanes.size, look, background)
        if (lanes.size > 1) within(maxOf(0, size.width / 2 - 1), size.width / 2 + 1) {
            GLES20.glClearColor(1f, 1f, 1f, 1f)
            GLES20.glClear(GLES20.GL_COLOR_BUFFER_BIT)
        }
        val error = GLES20.glGetError()
        if (error != 0) throw GraphicsError("OpenGL error 0x${Integer.toHexString(error)}")
    }

    private fun lane(index: Int, lane: Lane, from: Int, until: Int, look: Look, background: Background?) {
        val parts = lane.spec.parts
        val effect = when (look.effect) {
            Effect.NONE -> NONE
            Effect.BLUR -> BLUR
            Effect.PICTURE -> if (background == null) NONE else PICTURE
            Effect.COLOUR -> COLOUR
            Effect.CUTOUT -> CUTOUT
            Effect.MASK -> if (parts) PARTS else MASK
        }
        if (effect == PARTS) classes(lane) else if (effect != NONE) lines(index, lane)
        if (effect == BLUR) blur(lane, look.blur)
        if (effect == PICTURE) background(background!!)
        val behind = if (effect == BLUR) "blur a" else if (effect == PICTURE) "background" else "none"
        compose(from, until, effect, behind, lane, if (effect == MASK) lane.spec.colours[1] else look.colour, look)
    }

    /** Slope and offset of the mask's local lines (the guided filter), or the mask itself. */
    private fun lines(index: Int, lane: Lane) {
        val small = lane.small
        val refine = lane.radius > 0
        room(4 * small.pixels).asFloatBuffer().put(lane.mask)
        upload(texture("mask", small, GLES30.GL_R32F, GLES20.GL_NEAREST), GLES30.GL_RED, GLES20.GL_FLOAT)
        for (place in listOf("a", "b", "c")) texture(place, small, real, GLES20.GL_NEAREST)
        val result = texture("lines", small, GLES30.GL_RG16F, GLES20.GL_LINEAR)
        pass("moments", textures.getValue("a")) {
            sample("picture", "small $index")
            sample("mask", "mask")
        }
        if (refine) mean("a", textures.getValue("c"), lane.radius)
        pass("line", if (refine) textures.getValue("a") else result) {
            sample("moments", if (refine) "c" else "a")
            number("refine", if (refine) 1 else 0)
        }
        if (refine) mean("a", result, lane.radius)
    }

    private fun mean(from: String, to: Texture, radius: Int) {
        pass("box", textures.getValue("b")) {
            sample("plane", from)
            pair("direction", 1, 0)
            number("radius", radius)
        }
        pass("box", to) {
            sample("plane", "b")
            pair("direction", 0, 1)
            number("radius", radius)
        }
    }

    /** The picture blurred without its people: colours times weight, and weight. */
    private fun blur(lane: Lane, share: Float) {
        val sigma = maxOf(0.1f, share * maxOf(size.width, size.height))
        val factor = maxOf(1f, sigma / 2.8f)
        val small = Size(maxOf(1, (size.width / factor).roundToInt()), maxOf(1, (size.height / factor).roundToInt()))
        val (a, b) = listOf("blur a", "blur b").map { texture(it, small, GLES30.GL_RGBA16F, GLES20.GL_LINEAR) }
        pass("shrink", a) {
            sample("picture", "picture")
            sample("lines", "lines")
            number("threshold", lane.spec.threshold)
            pair("target", small.width.toFloat(), small.height.toFloat())
        }
        val halves = FloatArray(9) { exp(-0.5f * (it * factor / sigma) * (it * factor / sigma)) }
        val total = 2 * halves.sum() - halves[0]
        for (i in halves.indices) halves[i] /= total
        for ((from, to) in listOf("blur a" to b, "blur b" to a)) pass("gauss", to) {
            sample("plane", from)
            if (to === b) pair("direction", 1, 0) else pair("direction", 0, 1)
            GLES20.glUniform1fv(place("weights"), halves.size, halves, 0)
        }
    }

    private fun background(wanted: Background) {
        if (wanted === background) return
        background = wanted
        val bytes = room(4 * wanted.size.pixels)
        for (pixel in wanted.pixels) put(bytes, pixel, 255)
        upload(texture("background", wanted.size, GLES30.GL_RGBA8, GLES20.GL_LINEAR), GLES20.GL_RGBA, GLES20.GL_UNSIGNED_BYTE)
    }

    private fun classes(lane: Lane) {
        room(lane.small.pixels).put(lane.classes)
        upload(texture("classes", lane.small, GLES30.GL_R8UI, GLES20.GL_NEAREST), GLES30.GL_RED_INTEGER, GLES20.GL_UNSIGNED_BYTE)
        val bytes = room(4 * 256)
        for (label in 0 until 256) put(bytes, lane.spec.colours[label], if (label == 0) 0 else 255)
        upload(texture("palette", Size(256, 1), GLES30.GL_RGBA8, GLES20.GL_NEAREST), GLES20.GL_RGBA, GLES20.GL_UNSIGNED_BYTE)
    }

    private fun put(bytes: ByteBuffer, colour: Int, opacity: Int) {
        bytes.put((colour shr 16).toByte()).put((colour shr 8).toByte()).put(colour.toByte()).put(opacity.toByte())
    }

    private fun compose(from: Int, until: Int, effect: Int, behind: String, lane: Lane?, paint: Int, look: Look) = within(from, until) {
        val (wide, high) = textures.getValue(behind).size.let { it.width to it.height }
        val larger = maxOf(size.width.toFloat() / wide, size.height.toFloat() / high)
        filter(textures.getValue("picture"), GLES20.GL_NEAREST)
        pass("compose", textures.getValue("drawn"), "#define EFFECT $effect\n") {
            sample("picture", "picture")
            sample("lines", if ("lines" in textures) "lines" else "none")
            sample("behind", behind)
            sample("classes", if (effect == PARTS) "classes" else "no classes")
            sample("palette", if (effect == PARTS) "palette" else "none")
            GLES20.glUniform3f(place("paint"), (paint shr 16 and 255) / 255f, (paint shr 8 and 255) / 255f, (paint and 255) / 255f)
            number("threshold", lane?.spec?.threshold ?: 0.5f)
            pair("target", size.width.toFloat(), size.height.toFloat())
            pair("cover", size.width / (wide * larger), size.height / (high * larger))
            number("mirror", 0)
        }
        filter(textures.getValue("picture"), GLES20.GL_LINEAR)
    }

    private inline fun within(from: Int, until: Int, action: () -> Unit) {
        GLES20.glBindFramebuffer(GLES20.GL_FRAMEBUFFER, textures.getValue("drawn").frame)
        GLES20.glEnable(GLES20.GL_SCISSOR_TEST)
        GLES20.glScissor(from, 0, until - from, size.height)
        action()
        GLES20.glDisable(GLES20.GL_SCISSOR_TEST)
    }

    override fun present() {
        val room = screen.size
        val scale = minOf(room.width.toFloat() / size.width, room.height.toFloat() / size.height)
        val (width, height) = (size.width * scale).roundToInt() to (size.height * scale).roundToInt()
        val (left, bottom) = (room.width - width) / 2 to (room.height - height) / 2
        GLES20.glBindFramebuffer(GLES20.GL_FRAMEBUFFER, 0)
        GLES20.glClearColor(0f, 0f, 0f, 0f)
        GLES20.glClear(GLES20.GL_COLOR_BUFFER_BIT)
        GLES20.glBindFramebuffer(GLES30.GL_READ_FRAMEBUFFER, textures.getValue("drawn").frame)
        GLES30.glBlitFramebuffer(
            0, 0, size.width, size.height, left, bottom, left + width, bottom + height, GLES20.GL_COLOR_BUFFER_BIT, GLES20.GL_LINEAR,
        )
        screen.swap()
    }

    override fun read(pixels: IntArray) {
        GLES20.glBindFramebuffer(GLES20.GL_FRAMEBUFFER, textures.getValue("drawn").frame)
        readBytes(size)
        for (y in 0 until size.height) for (x in 0 until size.width) {
            val i = (size.height - 1 - y) * size.width + x
            val alpha = bytes.get(4 * i + 3).toInt() and 255
            pixels[y * size.width + x] = if (alpha == 255) rgba(i) else unmultiplied(i, alpha)
        }
    }

    private fun unmultiplied(i: Int, alpha: Int): Int {
        var pixel = alpha
        for (c in 0 until 3) pixel = pixel shl 8 or (((bytes.get(4 * i + c).toInt() and 255) * 255 + alpha / 2) / maxOf(1, alpha)).coerceAtMost(255)
        return pixel
    }

    /** Of the frame that is bound, into [bytes]. */
    private fun readBytes(size: Size) =
        GLES20.glReadPixels(0, 0, size.width, size.height, GLES20.GL_RGBA, GLES20.GL_UNSIGNED_BYTE, room(4 * size.pixels))

    private fun rgba(i: Int): Int {
        val pixel = bytes.getInt(4 * i) // little-endian: ABGR
        return pixel and (0xFF00FF00).toInt() or (pixel and 0xFF shl 16) or (pixel shr 16 and 0xFF)
    }

    override fun close() = screen.close()

    // OpenGL, made shorter.

    private fun room(count: Int): ByteBuffer {
        if (bytes.capacity() < count) bytes = ByteBuffer.allocateDirect(count).order(ByteOrder.nativeOrder())
        bytes.clear()
        return bytes
    }

    /** The texture of that name, made anew when its size changes; it can be drawn to where its format allows. */
    private fun texture(name: String, size: Size, format: Int, filter: Int): Texture {
        textures[name]?.let { known ->
            if (known.size == size) return known
            made[0] = known.id
            GLES20.glDeleteTextures(1, made, 0)
            made[0] = known.frame
            GLES20.glDeleteFramebuffers(1, made, 0)
        }
        GLES20.glGenTextures(1, made, 0)
        val id = made[0]
        GLES20.glActiveTexture(GLES20.GL_TEXTURE0)
        GLES20.glBindTexture(GLES20.GL_TEXTURE_2D, id)
        GLES30.glTexStorage2D(GLES20.GL_TEXTURE_2D, 1, format, size.width, size.height)
        for (side in intArrayOf(GLES20.GL_TEXTURE_WRAP_S, GLES20.GL_TEXTURE_WRAP_T)) GLES20.glTexParameteri(GLES20.GL_TEXTURE_2D, side, GLES20.GL_CLAMP_TO_EDGE)
        GLES20.glGenFramebuffers(1, made, 0)
        val texture = Texture(id, made[0], size)
        filter(texture, filter)
        GLES20.glBindFramebuffer(GLES20.GL_FRAMEBUFFER, texture.frame)
        GLES20.glFramebufferTexture2D(GLES20.GL_FRAMEBUFFER, GLES20.GL_COLOR_ATTACHMENT0, GLES20.GL_TEXTURE_2D, id, 0)
        textures[name] = texture
        return texture
    }

    private fun filter(texture: Texture, filter: Int) {
        GLES20.glActiveTexture(GLES20.GL_TEXTURE0)
        GLES20.glBindTexture(GLES20.GL_TEXTURE_2D, texture.id)
        GLES20.glTexParameteri(GLES20.GL_TEXTURE_2D, GLES20.GL_TEXTURE_MIN_FILTER, filter)
        GLES20.glTexParameteri(GLES20.GL_TEXTURE_2D, GLES20.GL_TEXTURE_MAG_FILTER, filter)
    }

    private fun upload(texture: Texture, format: Int, type: Int) {
        GLES20.glActiveTexture(GLES20.GL_TEXTURE0)
        GLES20.glBindTexture(GLES20.GL_TEXTURE_2D, texture.id)
        bytes.position(0)
        GLES20.glTexSubImage2D(GLES20.GL_TEXTURE_2D, 0, 0, 0, texture.size.width, texture.size.height, format, type, bytes)
    }

    /** One pass of a shader into a texture, with the uniforms that [values] sets. */
    private inline fun pass(name: String, to: Texture, defines: String = "", values: () -> Unit) {
        program = programs.getOrPut(name + defines) { Program(compile(name, defines)) }
        GLES20.glBindFramebuffer(GLES20.GL_FRAMEBUFFER, to.frame)
        GLES20.glViewport(0, 0, to.size.width, to.size.height)
        GLES20.glUseProgram(program.id)
        units = 0
        values()
        GLES20.glDrawArrays(GLES20.GL_TRIANGLES, 0, 3)
    }

    private fun place(name: String) = program.places.getOrPut(name) { GLES20.glGetUniformLocation(program.id, name) }

    private fun sample(name: String, texture: String) {
        GLES20.glActiveTexture(GLES20.GL_TEXTURE0 + units)
        GLES20.glBindTexture(GLES20.GL_TEXTURE_2D, textures.getValue(texture).id)
        GLES20.glUniform1i(place(name), units++)
    }

    private fun number(name: String, value: Int) = GLES20.glUniform1i(place(name), value)

    private fun number(name: String, value: Float) = GLES20.glUniform1f(place(name), value)

    private fun pair(name: String, x: Int, y: Int) = GLES20.glUniform2i(place(name), x, y)

    private fun pair(name: String, x: Float, y: Float) = GLES20.glUniform2f(place(name), x, y)

    private fun compile(name: String, defines: String): Int {
        val program = GLES20.glCreateProgram()
        val common = shader("common.glsl")
        for ((type, source) in listOf(GLES20.GL_VERTEX_SHADER to shader("triangle.vert.glsl"), GLES20.GL_FRAGMENT_SHADER to defines + shader("$name.frag.glsl"))) {
            val id = GLES20.glCreateShader(type)
            GLES20.glShaderSource(id, common + source)
            GLES20.glCompileShader(id)
            GLES20.glGetShaderiv(id, GLES20.GL_COMPILE_STATUS, made, 0)
            if (made[0] == 0) throw GraphicsError("the driver refuses $name.frag.glsl: ${GLES20.glGetShaderInfoLog(id)}")
            GLES20.glAttachShader(program, id)
        }
        GLES20.glLinkProgram(program)
        GLES20.glGetProgramiv(program, GLES20.GL_LINK_STATUS, made, 0)
        if (made[0] == 0) throw GraphicsError("the driver refuses $name.frag.glsl: ${GLES20.glGetProgramInfoLog(program)}")
        return program
    }

    private companion object {
        val PLANES = listOf("luma", "u", "v")

        // compose.frag.glsl's effects.
        const val NONE = 0
        const val BLUR = 1
        const val PICTURE = 2
        const val COLOUR = 3
        const val CUTOUT = 4
        const val MASK = 5
        const val PARTS = 6
    }
}
